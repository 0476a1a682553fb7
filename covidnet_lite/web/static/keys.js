// Single keys, where nothing is being typed; they can be turned off (WCAG 2.1.4).

export function watchKeys(actions, enabled) {
  document.addEventListener("keydown", (event) => {
    if (document.querySelector("dialog[open]")) return;
    const typing = event.target.closest?.("input:not([type=range]):not([type=radio]), textarea, select");
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) return act(event, "save");
    if (typing || event.ctrlKey || event.metaKey || event.altKey || !enabled()) return undefined;
    const slider = event.target.closest?.("input[type=range], input[type=radio]");
    if (slider && event.key.startsWith("Arrow")) return undefined;
    return act(event, event.shiftKey && event.key.startsWith("Arrow") ? `Shift ${event.key}` : event.key);
  });

  function act(event, name) {
    const action = actions[name];
    if (!action) return;
    event.preventDefault();
    action();
  }
}
