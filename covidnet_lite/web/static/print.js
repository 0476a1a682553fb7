// Films on paper: one a page, with answer, numbers and whose it is.

import { byId, element, percent } from "./dom.js";

const LONGEST = 1600; // pixels of the printed film
const MOST = 100; // films at once

// picture: one -> a canvas of it, or null; sheets are made when the browser prints, or by printAll.
export function watchPrinting(cases, about, words, picture) {
  let prepared = null;
  window.addEventListener("beforeprint", () => {
    const one = cases.selected;
    const sheets = prepared ?? (one ? [sheet(one, about, words(one), picture(one, LONGEST))] : []);
    byId("sheets").replaceChildren(...sheets);
  });
  window.addEventListener("afterprint", () => byId("sheets").replaceChildren());

  // draw: async one -> a canvas.
  return async function printAll(draw) {
    const sheets = [];
    for (const one of cases.shown().slice(0, MOST)) {
      if (one.result) sheets.push(sheet(one, about, words(one), await draw(one, LONGEST)));
    }
    prepared = sheets;
    window.print();
    prepared = null;
  };
}

function sheet(one, about, [verdict, because], canvas) {
  const { header, result, review } = one;
  const rows = [
    ["Film", one.name], ["Patient", header.patient], ["Patient ID", header.id], ["Date", header.date],
    ["Accession number", header.accession], ["Track record", result?.track_record], ["Opacity", extent(result, about)],
    ["Evidence", positive(result, about) && result.place?.main],
    ["Review", review && `${review.reviewer}: ${review.verdict || "sees"} ${review.label || "none of these"}`],
    ["Network", `${about.model}, SHA-256 ${about.sha256}`], ["Printed", new Date().toLocaleString()],
  ];
  const pairs = rows.filter(([, text]) => text).flatMap(([term, text]) => [element("dt", { text: term }), element("dd", { text })]);
  return element(
    "section",
    { className: "sheet" },
    element("p", { className: "sheet-notice", text: "Research use only. Not a medical device. Not for diagnosis." }),
    element("h2", { text: verdict }),
    element("p", { text: because }),
    ...(canvas ? [element("figure", {}, canvas, element("figcaption", { text: canvas.dataset.caption ?? "" }))] : []),
    ...(result?.labels?.length ? [bars(result)] : []),
    element("dl", {}, ...pairs),
  );
}

const positive = (result, about) => result?.labels?.length && about.negative !== null && !result.labels.includes(about.negative);

const extent = (result, about) => positive(result, about) && result.extent != null && `about ${percent(result.extent, 0)} of the lungs`;

function bars({ probabilities }) {
  const rows = Object.entries(probabilities).map(([label, share]) =>
    element(
      "li",
      {},
      element("span", { text: label }),
      element("meter", { min: 0, max: 1, value: share, "aria-label": `probability of ${label}` }),
      element("span", { className: "share", text: percent(share) }),
    ),
  );
  return element("ul", { className: "bars" }, ...rows);
}
