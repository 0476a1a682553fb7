// Radiographs on paper: one per page, with answer, probabilities and patient.

import { byId, definitions, element } from "./dom.js";
import { bars, findings, summary } from "./panel.js";

const LONGEST = 1600; // pixels of the printed image
const MAX_SHEETS = 100;

// canvasOf: (entry, longest) => a canvas, or null. Sheets are made when the browser prints, or by printAll.
export function watchPrinting(worklist, about, canvasOf) {
  let prepared = null;
  window.addEventListener("beforeprint", () => {
    const { selected } = worklist;
    const sheets = prepared ?? (selected ? [sheet(selected, about, canvasOf(selected, LONGEST))] : []);
    byId("sheets").replaceChildren(...sheets);
  });
  window.addEventListener("afterprint", () => byId("sheets").replaceChildren());

  // draw: async (entry, longest) => a canvas, or null.
  return async function printAll(draw) {
    const sheets = [];
    for (const entry of worklist.visible().filter(({ result }) => result).slice(0, MAX_SHEETS)) {
      sheets.push(sheet(entry, about, await draw(entry, LONGEST)));
    }
    prepared = sheets;
    window.print();
    prepared = null;
  };
}

function sheet(entry, about, canvas) {
  const { header, result, review } = entry;
  const [verdict, explanation] = summary(entry, about);
  const rows = [
    ["Radiograph", entry.name], ["Patient", header.patient], ["Patient ID", header.id], ["Date", header.date],
    ["Accession number", header.accession], ...findings(result, about), ["Track record", result?.track_record],
    ["Review", review && reviewText(review)],
    ["Network", `${about.model}, SHA-256 ${about.sha256}`], ["Printed", new Date().toLocaleString()],
  ];
  return element(
    "section",
    { className: "sheet" },
    element("p", { className: "sheet-notice", text: "Research use only. Not a medical device. Not for diagnosis." }),
    element("h2", { text: verdict }),
    element("p", { text: explanation }),
    ...(canvas ? [element("figure", {}, canvas, element("figcaption", { text: canvas.dataset.caption }))] : []),
    ...(result?.labels?.length ? [element("ul", { className: "bars" }, ...bars(result))] : []),
    element("dl", {}, ...definitions(rows)),
  );
}

function reviewText({ reviewer, verdict, label }) {
  if (verdict === "agree") return `${reviewer} agrees${label ? `: ${label}` : ""}`;
  return `${reviewer} ${verdict ? "disagrees" : "sees"}: ${label || "none of these"}`;
}
