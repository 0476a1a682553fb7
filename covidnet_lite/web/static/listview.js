// The work list as a table: one row per radiograph, sorted, searched and filtered.

import { byId, element, setOptions } from "./dom.js";
import { percent } from "./numbers.js";
import { answerWord, confidence, disagree, identity, PENDING } from "./worklist.js";

const REVIEW_MARKS = { agree: "✓", disagree: "✗", "": "●" };

export function showList(worklist) {
  const body = byId("rows");
  body.addEventListener("click", (event) => {
    const row = event.target.closest("tr");
    if (!row) return;
    worklist.select(Number(row.dataset.id));
    byId("stage").scrollIntoView({ block: "nearest" }); // on a phone the stage lies far above
  });
  for (const head of document.querySelectorAll("th[data-sort]")) {
    head.querySelector("button").addEventListener("click", () => worklist.sortBy(head.dataset.sort));
  }
  byId("search").addEventListener("input", (event) => worklist.filterBy({ words: event.target.value }));
  byId("answer-filter").addEventListener("change", (event) => worklist.filterBy({ answer: event.target.value }));
  worklist.addEventListener("change", () => render(worklist, body));
  // Frequent events update the existing rows: a click on a row that is being replaced would be lost.
  worklist.addEventListener("progress", () => {
    for (const bar of body.querySelectorAll("progress")) bar.value = entryOf(worklist, bar)?.progress ?? 0;
  });
  worklist.addEventListener("thumbnail", () => {
    for (const place of body.querySelectorAll("span.thumbnail")) place.replaceWith(entryOf(worklist, place)?.thumbnail ?? place);
  });
  render(worklist, body);
}

const entryOf = (worklist, node) => worklist.sorted().find(({ id }) => String(id) === node.closest("tr").dataset.id);

function render(worklist, body) {
  const focused = document.activeElement.closest("#rows tr");
  const visible = worklist.visible();
  body.replaceChildren(...visible.map((entry) => row(entry, entry === worklist.selected)));
  const selected = body.querySelector(".selected");
  if (selected) scrollToRow(selected, body.closest(".rows"));
  if (focused) {
    // The new row takes the focus of the old one; the focus of the selected row follows the selection.
    const successor = focused.matches(".selected") ? ".selected" : `[data-id="${focused.dataset.id}"]`;
    body.querySelector(`${successor} button`)?.focus({ preventScroll: true });
  }
  renderHead(worklist);
  renderControls(worklist, visible);
}

function renderHead(worklist) {
  for (const head of document.querySelectorAll("th[data-sort]")) {
    const { key, descending } = worklist.sort;
    const order = head.dataset.sort === key ? (descending ? "descending" : "ascending") : "none";
    head.setAttribute("aria-sort", order);
  }
  const { words, answer } = worklist.filter;
  if (byId("search").value !== words) byId("search").value = words;
  const answers = [...new Set(worklist.sorted().map(answerWord))].sort();
  setOptions(byId("answer-filter"), [["", "all answers"], ...answers.map((word) => [word, word])]);
  byId("answer-filter").value = answer;
  byId("filters").hidden = worklist.count < 2;
}

function renderControls(worklist, visible) {
  const { count, pending, retryable, selected } = worklist;
  byId("no-rows").hidden = count > 0;
  byId("no-match").hidden = count === 0 || visible.length > 0;
  for (const id of ["export-csv", "export-json", "print-all", "clear"]) byId(id).disabled = count === 0;
  byId("progress").textContent = pending ? `${count - pending} of ${count} done` : countText(count);
  const at = visible.indexOf(selected);
  byId("position").textContent = `${at + 1} / ${visible.length}`;
  byId("previous").disabled = at <= 0;
  byId("next").disabled = visible.length === 0 || at === visible.length - 1;
  byId("retry-all").hidden = retryable.length === 0;
  byId("retry-all").textContent = `Send ${countText(retryable.length)} again`;
}

// Scrolls only the list: scrollIntoView would also scroll the page, away from the stage on a phone.
function scrollToRow(row, list) {
  const [inner, outer] = [row.getBoundingClientRect(), list.getBoundingClientRect()];
  const top = outer.top + list.querySelector("thead").offsetHeight; // the sticky head covers rows
  if (inner.top < top) list.scrollTop -= top - inner.top;
  else if (inner.bottom > outer.bottom) list.scrollTop += inner.bottom - outer.bottom;
}

function countText(count) {
  return count === 0 ? "" : count === 1 ? "1 radiograph" : `${count} radiographs`;
}

function row(entry, selected) {
  const probability = confidence(entry);
  const name = element("button", { type: "button", text: entry.name, "aria-current": String(selected) });
  const thumbnail = entry.thumbnail ?? element("span", { className: "thumbnail" }); // keeps its place: rows must not grow later
  const title = element("div", { className: "title" }, thumbnail, name);
  const patient = identity(entry).join(" · ");
  const [mark, meaning] = reviewMark(entry);
  return element(
    "tr",
    { className: selected ? "selected" : "", "data-id": String(entry.id) },
    element("th", { scope: "row" }, title, ...(patient ? [element("span", { className: "patient", text: patient })] : [])),
    answerCell(entry),
    element("td", { className: "number", text: probability === null ? "" : percent(probability) }),
    element("td", { className: "mark", text: mark, title: meaning }),
  );
}

function answerCell(entry) {
  const pending = entry.status === PENDING;
  const cell = element("td", { className: `word ${entry.status}`, text: pending ? "…" : answerWord(entry) });
  if (pending) cell.append(element("progress", { max: 1, value: entry.progress, "aria-label": `upload of ${entry.name}` }));
  return cell;
}

function reviewMark({ draft, review, reviews }) {
  if (draft) return ["✎", "review not saved"];
  if (disagree(reviews)) return ["≠", "reviewers disagree"];
  return review ? [REVIEW_MARKS[review.verdict], review.verdict || "reviewed"] : ["", ""];
}
