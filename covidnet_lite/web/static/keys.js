// Single-key shortcuts, inactive while the user types; they can be turned off (WCAG 2.1.4).

export function watchKeys(actions, enabled) {
  document.addEventListener("keydown", (event) => {
    if (document.querySelector("dialog[open]")) return;
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) run(event, "save");
    else if (!isTyping(event) && !event.ctrlKey && !event.metaKey && !event.altKey && enabled()) run(event, nameOf(event));
  });

  function run(event, name) {
    const action = actions[name];
    if (!action) return;
    event.preventDefault();
    action();
  }
}

const nameOf = ({ key, shiftKey }) => (shiftKey && key.startsWith("Arrow") ? `Shift ${key}` : key);

// Arrow keys move sliders and radio buttons.
function isTyping({ target, key }) {
  const takes = "input:not([type=range]):not([type=radio]), textarea, select";
  return target.closest?.(key.startsWith("Arrow") ? `${takes}, input[type=range], input[type=radio]` : takes);
}
