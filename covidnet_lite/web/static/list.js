// The work list: a row a film, sorted, kept in step with the cases.

import { answerWord, confidence, PENDING } from "./cases.js";
import { byId, element, percent } from "./dom.js";

const MARKS = { agree: "✓", disagree: "✗" };

export function showList(cases) {
  const body = byId("rows");
  body.addEventListener("click", (event) => {
    const row = event.target.closest("tr");
    if (row) cases.select(Number(row.dataset.id));
  });
  for (const head of document.querySelectorAll("th[data-sort]")) {
    head.querySelector("button").addEventListener("click", () => cases.sortBy(head.dataset.sort));
  }
  cases.addEventListener("change", () => {
    render(cases, body);
  });
  render(cases, body);
}

function render(cases, body) {
  const focused = document.activeElement.closest("#rows tr");
  const sorted = cases.sorted();
  body.replaceChildren(...sorted.map((one) => row(one, one === cases.selected)));
  const chosen = body.querySelector(".selected");
  if (chosen) reveal(chosen, body.closest(".rows"));
  if (focused) {
    // New rows have not the focus of the old; that of the chosen one goes along with the choice.
    const heir = focused.matches(".selected") ? ".selected" : `[data-id="${focused.dataset.id}"]`;
    body.querySelector(`${heir} button`)?.focus({ preventScroll: true });
  }

  for (const head of document.querySelectorAll("th[data-sort]")) {
    const { key, descending } = cases.sort;
    const order = head.dataset.sort === key ? (descending ? "descending" : "ascending") : "none";
    head.setAttribute("aria-sort", order);
  }
  byId("no-rows").hidden = cases.count > 0;
  for (const id of ["export-csv", "export-json", "clear"]) byId(id).disabled = cases.count === 0;
  const open = cases.pending;
  byId("progress").textContent = open ? `${cases.count - open} of ${cases.count} done` : films(cases.count);
  byId("position").textContent = `${sorted.indexOf(cases.selected) + 1} / ${cases.count}`;
  byId("previous").disabled = sorted.indexOf(cases.selected) <= 0;
  byId("next").disabled = sorted.indexOf(cases.selected) >= sorted.length - 1;
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
  const name = element("button", { type: "button", text: one.name, title: one.name, "aria-current": String(selected) });
  return element(
    "tr",
    { className: selected ? "selected" : "", "data-id": String(one.id) },
    element("th", { scope: "row" }, name),
    element("td", { className: `word ${one.status}`, text: one.status === PENDING ? "…" : answerWord(one) }),
    element("td", { className: "number", text: sure === null ? "" : percent(sure) }),
    element("td", { text: MARKS[one.review?.verdict] ?? "", title: one.review?.verdict ?? "" }),
  );
}
