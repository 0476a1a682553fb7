// What is told of one film: answer, probabilities, why there is none, and how it came about.

import { negativeOf, PENDING } from "./cases.js";
import { beside, byId, digitsApart, element, percent } from "./dom.js";

const OUTSIDE = "mostly outside the lungs"; // as covidnet_lite/evidence/place.py has it

export function showPanel(one, about) {
  const result = one?.result;
  byId("answer").dataset.status = one?.status ?? "";
  const [verdict, because] = words(one, about);
  byId("verdict").textContent = verdict;
  byId("because").textContent = because;
  const answered = Boolean(result?.labels?.length);
  const told = findings(result, about);
  byId("findings").hidden = !told.length;
  byId("findings").replaceChildren(...pairs(told));
  byId("record").textContent = result?.track_record ? sentence(result.track_record) : "";
  // The numbers of an abstention are no finding: they are shown to whoever asks for them.
  const numbers = Object.keys(result?.probabilities ?? {}).length > 0;
  byId("numbers").hidden = !numbers;
  byId("numbers").open = answered;
  byId("numbers-title").textContent = answered ? "Probabilities" : "Probabilities (no finding)";
  const digits = digitsApart(Object.values(result?.probabilities ?? {}), thresholds(about));
  byId("bars").replaceChildren(...bars(result, digits));
  byId("threshold").textContent = numbers ? answersFrom(about, digits) : "";
  byId("facts").hidden = !result;
  byId("fact-list").replaceChildren(...facts(one, about));
}

// What becomes of the films, in front of whoever is about to open some.
export function fate({ reviews, keeps_pictures: pictures }) {
  const kept = reviews
    ? `It keeps the reviews you save, with file names ${pictures ? "and" : "but without"} pictures.`
    : "Nothing is kept.";
  return `Films are read in the memory of the computer that serves this page. Nothing leaves it. ${kept}`;
}

// What is said first, and why.
export function words(one, about) {
  if (!one) return ["None yet", "Open a film to see what it resembles."];
  const { result } = one;
  switch (one.status) {
    case PENDING:
      return ["Looking …", "The film is on its way, or the network is reading it."];
    case "answered":
      return [
        `Resembles ${result.label}`,
        `Of the training classes ${about.labels.join(", ")} the film resembles ${result.label} most. ` +
          "That is no diagnosis: another disease, or none, can look alike.",
      ];
    case "narrowed": {
      const negative = negativeOf(result);
      return [
        `Not ${negative}; ${result.labels.join(" or ")}`,
        `Of the training classes ${about.labels.join(", ")} the film does not resemble ${negative}; which of the ` +
          "others is open. That is no diagnosis: another disease, or none, can look alike.",
      ];
    }
    case "unsure": {
      // Its reason in full names a class and a number, and these are no finding.
      const outside = result.place?.main === OUTSIDE;
      const why = outside ? "Its evidence lies mostly outside the lungs" : "The network is not sure enough";
      return ["No answer", `${why}. This says nothing about the patient.`];
    }
    case "refused":
      return ["Not judged", `This is not taken for a frontal chest radiograph: ${result.reason}.`];
    default:
      return ["Cannot be read", result?.reason ?? "The file could not be read."];
  }
}

// How much and where, of a positive answer.
function findings(result, about) {
  if (!result?.labels?.length || about.negative === null || result.labels.includes(about.negative)) return [];
  const off = result.extent_error == null ? "" : `, off by ${percent(result.extent_error, 0)} of the lungs on average`;
  return [
    ["Opacity", result.extent != null && `about ${percent(result.extent, 0)} of the lungs${off}`],
    ["Evidence", result.place?.main],
  ].filter(([, text]) => text);
}

const sentence = (text) => `${text[0].toUpperCase()}${text.slice(1)}.`;

function thresholds({ threshold, operating_point: point }) {
  return point ? [point.negative_from, 1 - point.positive_from] : [threshold];
}

function answersFrom({ threshold, operating_point: point }, digits) {
  if (!point) {
    return threshold <= 1 ? `It answers from ${percent(threshold, digits)}; below, it abstains.` : "It never answers.";
  }
  const from = point.negative_from <= 1 ? `from ${percent(point.negative_from, digits)}` : "never";
  const upTo = point.positive_from <= 1 ? `up to ${percent(1 - point.positive_from, digits)}` : "never";
  return `By the probability of ${point.negative}: ${point.negative} ${from}, not ${point.negative} ${upTo}.`;
}

const pairs = (rows) => rows.flatMap(([term, text]) => [element("dt", { text: term }), element("dd", { text })]);

function bars(result, digits) {
  return Object.entries(result?.probabilities ?? {}).map(([label, share]) => {
    const bar = element("meter", { min: 0, max: 1, value: share, "aria-label": `probability of ${label}` });
    const mine = result.labels.includes(label) ? "mine" : "";
    return element(
      "li",
      { className: mine },
      element("span", { className: "label", text: label }),
      bar,
      element("span", { className: "share", text: percent(share, digits) }),
    );
  });
}

function facts(one, about) {
  const { result } = one ?? {};
  if (!result) return [];
  const stages = Object.entries(result.timings_ms ?? {});
  const total = stages.reduce((sum, [, ms]) => sum + ms, 0);
  const told = Object.values(result.examination ?? {}).filter(Boolean).join(", ");
  const known = result.distance != null && about.guard_limit != null;
  const [far, most] = known ? beside(result.distance, about.guard_limit) : [];
  const rows = [
    ["Time", stages.length && `${total.toFixed(1)} ms: ${stages.map(([s, ms]) => `${s} ${ms.toFixed(1)}`).join(", ")}`],
    ["On screen", one.waited],
    ["Header", told],
    ["Notes", (result.notes ?? []).join("; ")],
    ["Strangeness", far && `${far} (ordinary about 1, refused above ${most})`],
    ["Network", `${about.model}, in ${about.runtime}`],
    ["SHA-256", about.sha256],
    ["Image", result.image && `SHA-256 ${result.image}`],
    ["Licences", `network: ${about.licence || "not stated"}; code: ${about.code_licence}`],
    ["Model card", "MODEL_CARD.md in the network's file, which is also a zip archive"],
  ];
  return pairs(rows.filter(([, text]) => text));
}
