// Light or dark: the system's theme until the user chooses one. The choice is not stored.

import { byId } from "./dom.js";

export function watchTheme() {
  const system = matchMedia("(prefers-color-scheme: dark)");
  const button = byId("theme");
  let choice = null;
  const isDark = () => choice ?? system.matches;
  const apply = () => {
    document.documentElement.dataset.theme = isDark() ? "dark" : "light";
    button.setAttribute("aria-pressed", String(isDark()));
  };
  button.addEventListener("click", () => {
    choice = !isDark();
    apply();
  });
  system.addEventListener("change", apply);
  apply();
}
