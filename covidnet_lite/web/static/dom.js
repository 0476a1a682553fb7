// Helpers for the elements of the page. Text is only ever set as text, never as markup.

export const byId = (id) => document.getElementById(id);

export function element(tag, { text, ...properties } = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name.includes("-") || name === "role" || name === "scope") node.setAttribute(name, value);
    else node[name] = value;
  }
  if (text !== undefined) node.textContent = text;
  node.append(...children);
  return node;
}

// The rows of a <dl>; those without a text are left out.
export const definitions = (rows) =>
  rows.filter(([, text]) => text).flatMap(([term, text]) => [element("dt", { text: term }), element("dd", { text })]);

// Replaces the options of a <select>: [[value, text], ...].
export function setOptions(select, options) {
  select.replaceChildren(...options.map(([value, text]) => element("option", { value, text })));
}

export const pixelRatio = () => window.devicePixelRatio || 1;

export function download(name, type, text) {
  const url = URL.createObjectURL(new Blob([text], { type }));
  element("a", { href: url, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(url), 10_000);
}
