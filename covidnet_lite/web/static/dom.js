// The few things every part needs of the page. Text is only ever set as text, never as markup.

export const byId = (id) => document.getElementById(id);

export function element(tag, { text, ...properties } = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name.includes("-") || name === "role" || name === "scope") made.setAttribute(name, value);
    else made[name] = value;
  }
  if (text !== undefined) made.textContent = text;
  made.append(...children);
  return made;
}

// 0.847 -> 84.7%; what is not quite nothing or everything is not rounded to it: <0.1%, >99.9%. As covidnet_lite/percent.py.
export function percent(share, digits = 1) {
  const text = (share * 100).toFixed(digits);
  const step = 10 ** -digits;
  if (share > 0 && Number(text) === 0) return `<${step.toFixed(digits)}%`;
  if (share < 1 && Number(text) === 100) return `>${(100 - step).toFixed(digits)}%`;
  return `${text}%`;
}

// A number and the limit it is compared with, in the least digits, 2 to 6, with which they do not read alike.
export function beside(value, limit) {
  let digits = 2;
  while (digits < 6 && value !== limit && value.toFixed(digits) === limit.toFixed(digits)) digits += 1;
  return [value.toFixed(digits), limit.toFixed(digits)];
}

// The least digits, 1 to 6, with which no share reads like a threshold that it is not.
export function digitsApart(shares, thresholds) {
  const alike = (digits) =>
    shares.some((share) => thresholds.some((t) => t !== share && percent(t, digits) === percent(share, digits)));
  return [1, 2, 3, 4, 5].find((digits) => !alike(digits)) ?? 6;
}

export function save(name, type, text) {
  const url = URL.createObjectURL(new Blob([text], { type }));
  element("a", { href: url, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(url), 10_000);
}
