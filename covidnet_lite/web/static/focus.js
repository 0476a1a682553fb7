// Keeps the keyboard focus: the browser drops it when the focused element is hidden or disabled.

import { byId } from "./dom.js";

// Returns a function to call after hiding or disabling anything.
export function watchFocus(worklist) {
  const reset = () => byId(worklist.selected ? "canvas" : "choose").focus({ preventScroll: true });
  // In a microtask, after the other listeners have hidden and disabled elements.
  const keepFocus = () => queueMicrotask(() => usable(document.activeElement) || reset());
  worklist.addEventListener("change", keepFocus);
  worklist.addEventListener("select", keepFocus);
  for (const dialog of document.querySelectorAll("dialog")) {
    // The browser has returned the focus by now, if the element that had it still exists.
    dialog.addEventListener("close", () => (document.activeElement === document.body ? reset() : keepFocus()));
  }
  return keepFocus;
}

const usable = (node) => !node.disabled && node.checkVisibility();
