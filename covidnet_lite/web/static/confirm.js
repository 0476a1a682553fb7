// Questions before the page loses a review that is not saved.

import { byId } from "./dom.js";

// Returns whether the user chose to go ahead.
export function confirmed(question, action) {
  const dialog = byId("confirm");
  byId("confirm-question").textContent = question;
  byId("confirm-action").textContent = action;
  dialog.returnValue = "";
  dialog.showModal();
  return new Promise((resolve) => {
    dialog.addEventListener("close", () => resolve(dialog.returnValue === "go"), { once: true });
  });
}

export const unsavedReviews = (count) => (count === 1 ? "One review is not saved." : `${count} reviews are not saved.`);

// The browser asks before it leaves or reloads the page.
export function watchLeaving(worklist) {
  window.addEventListener("beforeunload", (event) => {
    if (worklist.drafts) event.preventDefault();
  });
}
