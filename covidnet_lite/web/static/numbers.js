// Numbers as the page writes them.

// 0.847 -> 84.7%. A share other than 0 or 1 is not rounded to it: <0.1%, >99.9%. As covidnet_lite/percent.py.
export function percent(share, digits = 1) {
  const text = (share * 100).toFixed(digits);
  const step = 10 ** -digits;
  if (share > 0 && Number(text) === 0) return `<${step.toFixed(digits)}%`;
  if (share < 1 && Number(text) === 100) return `>${(100 - step).toFixed(digits)}%`;
  return `${text}%`;
}

// A number and its limit, with the fewest digits, 2 to 6, that tell them apart.
export function withLimit(value, limit) {
  let digits = 2;
  while (digits < 6 && value !== limit && value.toFixed(digits) === limit.toFixed(digits)) digits += 1;
  return [value.toFixed(digits), limit.toFixed(digits)];
}

// The fewest digits, 1 to 6, with which no share looks equal to a threshold that it differs from.
export function digitsApart(shares, thresholds) {
  const alike = (digits) =>
    shares.some((share) => thresholds.some((t) => t !== share && percent(t, digits) === percent(share, digits)));
  return [1, 2, 3, 4, 5].find((digits) => !alike(digits)) ?? 6;
}
