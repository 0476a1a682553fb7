// The work list as CSV and JSON, written in the browser: the server does not store it.

import { download } from "./dom.js";
import { disagree } from "./worklist.js";

export function exportJson(worklist) {
  download("covidnet-lite.json", "application/json", `${JSON.stringify(worklist.sorted().map(record), null, 1)}\n`);
}

export function exportCsv(worklist, labels) {
  const columns = ["name", "status", "label", "labels", "reason", ...labels, "extent", "extent_error", "place", "verdict", "right_label", "comment", "reviewer", "reviewers_disagree", "model", "sha256", "image", "note"];
  const rows = worklist.sorted().map(({ name, status, result, review, reviews }) => {
    const { probabilities = {}, ...rest } = result ?? {};
    const shares = labels.map((label) => probabilities[label] ?? "");
    return [
      name, status, rest.label, rest.labels?.join("|"), rest.reason, ...shares,
      rest.extent, rest.extent_error, rest.place?.main, review?.verdict, review?.label, review?.comment, review?.reviewer, disagree(reviews) ? "yes" : "",
      rest.model, rest.sha256, rest.image, rest.note,
    ];
  });
  download("covidnet-lite.csv", "text/csv", [columns, ...rows].map((row) => `${row.map(cell).join(",")}\r\n`).join(""));
}

function record({ name, status, result, review, reviews }) {
  const { evidence, ...rest } = result ?? { status };
  return { ...rest, name, review, reviews, reviewers_disagree: disagree(reviews) };
}

// Quoted, and marked as text where a spreadsheet would see a formula.
export function cell(value) {
  const text = String(value ?? "");
  const safe = /^[=+\-@\t\r]/.test(text) && Number.isNaN(Number(text)) ? `'${text}` : text;
  return /[",\r\n]/.test(safe) ? `"${safe.replaceAll('"', '""')}"` : safe;
}
