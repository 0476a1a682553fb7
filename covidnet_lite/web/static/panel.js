// The answer for one radiograph: probabilities, reasons, and how it came about.

import { byId, definitions, element } from "./dom.js";
import { digitsApart, percent, withLimit } from "./numbers.js";
import { excludedLabel, PENDING } from "./worklist.js";

const OUTSIDE = "mostly outside the lungs"; // as covidnet_lite/evidence/place.py has it
const CAUTION = "This is not a diagnosis: another disease, or none, can look the same.";

export function showPanel(entry, about) {
  const result = entry?.result;
  const [verdict, explanation] = summary(entry, about);
  byId("answer").dataset.status = entry?.status ?? "";
  byId("verdict").textContent = verdict;
  byId("explanation").textContent = explanation;
  const rows = definitions(findings(result, about));
  byId("findings").hidden = !rows.length;
  byId("findings").replaceChildren(...rows);
  byId("track-record").textContent = result?.track_record ? sentence(result.track_record) : "";
  // The probabilities of an abstention are not a finding: they are closed until the user opens them.
  const probabilities = result?.probabilities ?? {};
  const any = Object.keys(probabilities).length > 0;
  const answered = Boolean(result?.labels?.length);
  byId("probabilities").hidden = !any;
  byId("probabilities").open = answered;
  byId("probabilities-title").textContent = answered ? "Probabilities" : "Probabilities (not a finding)";
  const digits = digitsApart(Object.values(probabilities), thresholds(about));
  byId("bars").replaceChildren(...bars(result, digits));
  byId("threshold").textContent = any ? thresholdText(about, digits) : "";
  byId("details").hidden = !result;
  byId("detail-list").replaceChildren(...definitions(details(entry, about)));
}

// What becomes of the radiographs, before the user opens one.
export function storageNote({ reviews, keeps_pictures: images }) {
  const stored = reviews
    ? `It stores the reviews that you save, with file names ${images ? "and images" : "but without images"}.`
    : "It stores nothing.";
  return `The computer that serves this page reads the radiographs in its memory and passes nothing on. ${stored}`;
}

// [verdict, explanation]
export function summary(entry, about) {
  if (!entry) return ["None yet", "Open a radiograph to see what it resembles."];
  const { result, retryable } = entry;
  const classes = `Of the classes that the network knows (${about.labels.join(", ")}), the radiograph`;
  switch (entry.status) {
    case PENDING:
      return ["Classifying …", "The page is uploading the radiograph, or the network is reading it."];
    case "answered":
      return [`Resembles ${result.label}`, `${classes} resembles ${result.label} most. ${CAUTION}`];
    case "narrowed": {
      const excluded = excludedLabel(result);
      return [
        `Not ${excluded}; ${result.labels.join(" or ")}`,
        `${classes} does not resemble ${excluded}. The network leaves open which of the others it resembles. ${CAUTION}`,
      ];
    }
    case "unsure": {
      // The full reason names a class and a number, which would be read as a finding.
      const outside = result.place?.main === OUTSIDE;
      const reason = outside ? "The evidence lies mostly outside the lungs." : "The network is not sure enough.";
      return ["No answer", `${reason} This says nothing about the patient.`];
    }
    case "refused":
      return ["Not classified", `The network takes only frontal chest radiographs. Why it refused this image: ${result.reason}.`];
    default:
      return [retryable ? "No result" : "Cannot be read", failure(result)];
  }
}

function failure({ code, reason }) {
  const ended = /[.?!]$/.test(reason) ? reason : `${reason}.`;
  return code === "missing-extra" ? `${ended} Ask the person who runs this server to install it.` : ended;
}

// Extent and place, for an answer other than the negative one.
export function findings(result, about) {
  if (!result?.labels?.length || about.negative === null || result.labels.includes(about.negative)) return [];
  const error = result.extent_error == null ? "" : ` (average error: ${percent(result.extent_error, 0)} of the lungs)`;
  return [
    ["Opacity", result.extent != null && `about ${percent(result.extent, 0)} of the lungs${error}`],
    ["Evidence", result.place?.main],
  ];
}

export function bars(result, digits = 1) {
  return Object.entries(result?.probabilities ?? {}).map(([label, share]) =>
    element(
      "li",
      { className: result.labels.includes(label) ? "answered" : "" },
      element("span", { className: "label", text: label }),
      element("meter", { min: 0, max: 1, value: share, "aria-label": `probability of ${label}` }),
      element("span", { className: "share", text: percent(share, digits) }),
    ),
  );
}

const sentence = (text) => `${text[0].toUpperCase()}${text.slice(1)}.`;

function thresholds({ threshold, operating_point: point }) {
  return point ? [point.negative_from, 1 - point.positive_from] : [threshold];
}

function thresholdText({ threshold, operating_point: point }, digits) {
  if (!point) {
    return threshold <= 1 ? `The network answers from ${percent(threshold, digits)}; below, it abstains.` : "The network never answers.";
  }
  const { negative, negative_from: from, positive_from: positive } = point;
  const answers = [
    from <= 1 && `${negative} where the probability of ${negative} is at least ${percent(from, digits)}`,
    positive <= 1 && `not ${negative} where the probability of ${negative} is at most ${percent(1 - positive, digits)}`,
  ].filter(Boolean);
  return answers.length ? `The network answers ${answers.join(", and ")}. Otherwise it abstains.` : "The network never answers.";
}

function details(entry, about) {
  const { result } = entry ?? {};
  if (!result) return [];
  const stages = Object.entries(result.timings_ms ?? {});
  const total = stages.reduce((sum, [, ms]) => sum + ms, 0);
  const measured = result.distance != null && about.guard_limit != null;
  const [distance, limit] = measured ? withLimit(result.distance, about.guard_limit) : [];
  return [
    ["Time", stages.length && `${total.toFixed(1)} ms: ${stages.map(([stage, ms]) => `${stage} ${ms.toFixed(1)}`).join(", ")}`],
    ["On screen", entry.displayTime],
    ["Header", Object.values(result.examination ?? {}).filter(Boolean).join(", ")],
    ["Notes", (result.notes ?? []).join("; ")],
    ["Distance", measured && `${distance} from the training radiographs (usually about 1; refused above ${limit})`],
    ["Network", `${about.model}, run by ${about.runtime}`],
    ["SHA-256", about.sha256],
    ["Image", result.image && `SHA-256 ${result.image}`],
    ["Licences", `network: ${about.licence || "not stated"}; code: ${about.code_licence}`],
    ["Model card", "MODEL_CARD.md inside the network's file, which is also a zip archive"],
  ];
}
