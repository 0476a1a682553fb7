// The keyboard's place on the page: what is hidden or disabled while it has the focus would drop it.

import { byId } from "./dom.js";

// Gives a function to call after hiding or disabling anything.
export function watchFocus(cases) {
  const home = () => byId(cases.selected ? "canvas" : "choose").focus({ preventScroll: true });
  // Others listen as well: first they hide and disable what they will, then this looks.
  const keepFocus = () => queueMicrotask(() => usable(document.activeElement) || home());
  cases.addEventListener("change", keepFocus);
  cases.addEventListener("select", keepFocus);
  for (const dialog of document.querySelectorAll("dialog")) {
    // What had the focus before has it again by now, if it is still there.
    dialog.addEventListener("close", () => (document.activeElement === document.body ? home() : keepFocus()));
  }
  return keepFocus;
}

const usable = (one) => !one.disabled && one.checkVisibility();
