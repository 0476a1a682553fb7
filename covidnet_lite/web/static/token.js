// The question for the token of the server.

import { byId } from "./dom.js";

export function askToken(why) {
  const dialog = byId("token-dialog");
  byId("token-error").textContent = why;
  if (!dialog.open) dialog.showModal();
  return new Promise((resolve) => {
    const again = () => dialog.showModal(); // left with Escape; without a token there is nothing to see
    dialog.addEventListener("close", again);
    byId("token-form").addEventListener(
      "submit",
      (event) => {
        event.preventDefault();
        dialog.removeEventListener("close", again);
        dialog.close();
        resolve(byId("token").value.trim());
      },
      { once: true },
    );
  });
}
