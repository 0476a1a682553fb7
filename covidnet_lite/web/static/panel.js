// What is told of one film: answer, probabilities, why there is none, and how it came about.

import { mostLikely, PENDING } from "./cases.js";
import { byId, element, percent } from "./dom.js";

export function showPanel(one, about) {
  const result = one?.result;
  byId("answer").dataset.status = one?.status ?? "";
  const [verdict, because] = words(one, about);
  byId("verdict").textContent = verdict;
  byId("because").textContent = because;
  byId("bars").replaceChildren(...bars(result));
  byId("threshold").textContent =
    result && Object.keys(result.probabilities ?? {}).length ? answersFrom(about.threshold) : "";
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

function words(one, about) {
  if (!one) return ["None yet", "Open a film to see what it resembles."];
  const { result } = one;
  switch (one.status) {
    case PENDING:
      return ["Looking …", "The network is reading this film."];
    case "answered":
      return [
        `Resembles ${result.label}`,
        `Of the training classes ${about.labels.join(", ")} the film resembles ${result.label} most. ` +
          "That is no diagnosis: another disease, or none, can look alike.",
      ];
    case "unsure":
      return [
        "No answer",
        `The network is not sure enough to answer. It leans to ${mostLikely(result)}, ` +
          "which must not be read as a finding.",
      ];
    case "refused":
      return ["Not judged", `This is not taken for a frontal chest radiograph: ${result.reason}.`];
    default:
      return ["Cannot be read", result?.reason ?? "The file could not be read."];
  }
}

function answersFrom(threshold) {
  return threshold <= 1 ? `It answers from ${percent(threshold)}; below, it abstains.` : "It never answers.";
}

function bars(result) {
  return Object.entries(result?.probabilities ?? {}).map(([label, share]) => {
    const bar = element("meter", { min: 0, max: 1, value: share, "aria-label": `probability of ${label}` });
    const mine = label === result.label ? "mine" : "";
    return element(
      "li",
      { className: mine },
      element("span", { className: "label", text: label }),
      bar,
      element("span", { className: "share", text: percent(share) }),
    );
  });
}

function facts(one, about) {
  const { result } = one ?? {};
  if (!result) return [];
  const stages = Object.entries(result.timings_ms ?? {});
  const total = stages.reduce((sum, [, ms]) => sum + ms, 0);
  const told = Object.values(result.examination ?? {}).filter(Boolean).join(", ");
  const rows = [
    ["Time", stages.length && `${total.toFixed(1)} ms: ${stages.map(([s, ms]) => `${s} ${ms.toFixed(1)}`).join(", ")}`],
    ["On screen", one.waited],
    ["Header", told],
    ["Notes", (result.notes ?? []).join("; ")],
    [
      "Strangeness",
      result.distance != null && about.guard_limit != null &&
        `${result.distance.toFixed(2)} (ordinary about 1, refused above ${about.guard_limit.toFixed(2)})`,
    ],
    ["Network", `${about.model}, in ${about.runtime}`],
    ["SHA-256", about.sha256],
    ["Image", result.image && `SHA-256 ${result.image}`],
    ["Licence", about.licence],
  ];
  return rows
    .filter(([, text]) => text)
    .flatMap(([term, text]) => [element("dt", { text: term }), element("dd", { text })]);
}
