// The dialog for the server's token.

import { byId } from "./dom.js";

export function requestToken(error) {
  const dialog = byId("token-dialog");
  byId("token-error").textContent = error;
  if (!dialog.open) dialog.showModal();
  return new Promise((resolve) => {
    const reopen = () => dialog.showModal(); // after Escape: without a token the page can show nothing
    dialog.addEventListener("close", reopen);
    byId("token-form").addEventListener(
      "submit",
      (event) => {
        event.preventDefault();
        dialog.removeEventListener("close", reopen);
        dialog.close();
        resolve(byId("token").value.trim());
      },
      { once: true },
    );
  });
}
