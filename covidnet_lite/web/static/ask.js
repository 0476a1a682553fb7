// A question before something typed would be lost.

import { byId } from "./dom.js";

// Gives whether to go on.
export function ask(question, go) {
  const dialog = byId("ask");
  byId("ask-question").textContent = question;
  byId("ask-go").textContent = go;
  dialog.returnValue = "";
  dialog.showModal();
  return new Promise((resolve) => {
    dialog.addEventListener("close", () => resolve(dialog.returnValue === "go"), { once: true });
  });
}

export const unsaved = (count) => (count === 1 ? "One review is not saved." : `${count} reviews are not saved.`);

// The browser's own question before the page is left or loaded anew.
export function watchLeaving(cases) {
  window.addEventListener("beforeunload", (event) => {
    if (cases.drafts) event.preventDefault();
  });
}
