// The work list as CSV and JSON, made here: the server does not keep it.

import { disagreed } from "./cases.js";
import { save } from "./dom.js";

export function exportJson(cases) {
  save("covidnet-lite.json", "application/json", `${JSON.stringify(cases.sorted().map(plain), null, 1)}\n`);
}

export function exportCsv(cases, labels) {
  const head = ["name", "status", "label", "labels", "reason", ...labels, "extent", "extent_error", "place", "verdict", "right_label", "comment", "reviewer", "reviewers_disagree", "model", "sha256", "image", "note"];
  const rows = cases.sorted().map((one) => {
    const { evidence, probabilities = {}, ...result } = one.result ?? {};
    const { review } = one;
    const shares = labels.map((label) => probabilities[label] ?? "");
    return [
      one.name, one.status, result.label, result.labels?.join("|"), result.reason, ...shares,
      result.extent, result.extent_error, result.place?.main, review?.verdict, review?.label, review?.comment, review?.reviewer, disagreed(one.reviews) ? "yes" : "",
      result.model, result.sha256, result.image, result.note,
    ];
  });
  save("covidnet-lite.csv", "text/csv", [head, ...rows].map((row) => `${row.map(cell).join(",")}\r\n`).join(""));
}

function plain(one) {
  const { evidence, ...result } = one.result ?? { name: one.name, status: one.status };
  return { ...result, name: one.name, review: one.review, reviews: one.reviews, reviewers_disagree: disagreed(one.reviews) };
}

// Quoted, and no text that a spreadsheet would take for a formula.
export function cell(value) {
  const text = String(value ?? "");
  const safe = /^[=+\-@\t\r]/.test(text) && Number.isNaN(Number(text)) ? `'${text}` : text;
  return /[",\r\n]/.test(safe) ? `"${safe.replaceAll('"', '""')}"` : safe;
}
