// The work list: a row a film, sorted and searched, kept in step with the cases.

import { answerWord, confidence, disagreed, PENDING, whose } from "./cases.js";
import { byId, element, percent } from "./dom.js";

const MARKS = { agree: "✓", disagree: "✗", "": "●" };

export function showList(cases) {
  const body = byId("rows");
  body.addEventListener("click", (event) => {
    const row = event.target.closest("tr");
    if (!row) return;
    cases.select(Number(row.dataset.id));
    byId("stage").scrollIntoView({ block: "nearest" }); // on a phone the film lies far above
  });
  for (const head of document.querySelectorAll("th[data-sort]")) {
    head.querySelector("button").addEventListener("click", () => cases.sortBy(head.dataset.sort));
  }
  byId("search").addEventListener("input", (event) => cases.filterBy({ words: event.target.value }));
  byId("only").addEventListener("change", (event) => cases.filterBy({ answer: event.target.value }));
  cases.addEventListener("change", () => render(cases, body));
  // What comes often changes the rows that are there: a new row would not get the click on the old one.
  cases.addEventListener("progress", () => {
    for (const bar of body.querySelectorAll("progress")) bar.value = caseOf(cases, bar)?.progress ?? 0;
  });
  cases.addEventListener("thumbnail", () => {
    for (const film of body.querySelectorAll(".film:not(:has(.thumbnail))")) film.prepend(caseOf(cases, film)?.thumbnail ?? "");
  });
  render(cases, body);
}

const caseOf = (cases, inRow) => cases.sorted().find((one) => String(one.id) === inRow.closest("tr").dataset.id);

function render(cases, body) {
  const focused = document.activeElement.closest("#rows tr");
  const shown = cases.shown();
  body.replaceChildren(...shown.map((one) => row(one, one === cases.selected)));
  const chosen = body.querySelector(".selected");
  if (chosen) reveal(chosen, body.closest(".rows"));
  if (focused) {
    // New rows have not the focus of the old; that of the chosen one goes along with the choice.
    const heir = focused.matches(".selected") ? ".selected" : `[data-id="${focused.dataset.id}"]`;
    body.querySelector(`${heir} button`)?.focus({ preventScroll: true });
  }
  renderHeads(cases);
  renderFoot(cases, shown);
}

function renderHeads(cases) {
  for (const head of document.querySelectorAll("th[data-sort]")) {
    const { key, descending } = cases.sort;
    const order = head.dataset.sort === key ? (descending ? "descending" : "ascending") : "none";
    head.setAttribute("aria-sort", order);
  }
  const { words, answer } = cases.filter;
  if (byId("search").value !== words) byId("search").value = words;
  const answers = [...new Set(cases.sorted().map(answerWord))].sort();
  const options = [["", "all answers"], ...answers.map((word) => [word, word])];
  byId("only").replaceChildren(...options.map(([value, text]) => element("option", { value, text })));
  byId("only").value = answer;
  byId("sift").hidden = cases.count < 2;
}

function renderFoot(cases, shown) {
  byId("no-rows").hidden = cases.count > 0;
  byId("none-fit").hidden = cases.count === 0 || shown.length > 0;
  for (const id of ["export-csv", "export-json", "print-all", "clear"]) byId(id).disabled = cases.count === 0;
  const open = cases.pending;
  byId("progress").textContent = open ? `${cases.count - open} of ${cases.count} done` : films(cases.count);
  const at = shown.indexOf(cases.selected);
  byId("position").textContent = `${at + 1} / ${shown.length}`;
  byId("previous").disabled = at <= 0;
  byId("next").disabled = shown.length === 0 || at === shown.length - 1;
  const lost = cases.lost.length;
  byId("retry").hidden = lost === 0;
  byId("retry").textContent = `Send ${films(lost)} again`;
}

// Scrolls the list alone: scrollIntoView would take the page along, away from the film on a phone.
function reveal(row, list) {
  const [inner, outer] = [row.getBoundingClientRect(), list.getBoundingClientRect()];
  const top = outer.top + list.querySelector("thead").offsetHeight; // the heads lie over the rows
  if (inner.top < top) list.scrollTop -= top - inner.top;
  else if (inner.bottom > outer.bottom) list.scrollTop += inner.bottom - outer.bottom;
}

function films(count) {
  return count === 0 ? "" : count === 1 ? "1 film" : `${count} films`;
}

function row(one, selected) {
  const sure = confidence(one);
  const name = element("button", { type: "button", text: one.name, "aria-current": String(selected) });
  const told = whose(one);
  const film = element("div", { className: "film" }, ...(one.thumbnail ? [one.thumbnail] : []), name);
  const [mark, meaning] = reviewMark(one);
  return element(
    "tr",
    { className: selected ? "selected" : "", "data-id": String(one.id) },
    element("th", { scope: "row" }, film, ...(told.length ? [element("span", { className: "whose", text: told.join(" · ") })] : [])),
    word(one),
    element("td", { className: "number", text: sure === null ? "" : percent(sure) }),
    element("td", { className: "mark", text: mark, title: meaning }),
  );
}

function word(one) {
  const cell = element("td", { className: `word ${one.status}`, text: one.status === PENDING ? "…" : answerWord(one) });
  if (one.status === PENDING) cell.append(element("progress", { max: 1, value: one.progress, "aria-label": `upload of ${one.name}` }));
  return cell;
}

function reviewMark(one) {
  if (one.draft) return ["✎", "review not saved"];
  if (disagreed(one.reviews)) return ["≠", "reviewers disagree"];
  return one.review ? [MARKS[one.review.verdict], one.review.verdict || "reviewed"] : ["", ""];
}
