// Window and level: presets, those of the header, and the header's own numbers for them.

export const WHOLE = Object.freeze({ width: 255, level: 127.5 });
const OWN = [
  { name: "dense parts", width: 130, level: 180 },
  { name: "dark parts", width: 130, level: 75 },
  { name: "low contrast", width: 420, level: 127.5 },
];

// The window that black and white of the picture stand for, or null where the header has none that was used.
function base(header, result) {
  const left = result?.note_codes?.includes("window-left-aside");
  return left ? null : (header?.windows?.[0] ?? null);
}

// [{name, width, level}], in gray levels of the picture.
export function presets(header, result) {
  const first = base(header, result);
  const others = first ? header.windows.slice(1) : [];
  const told = others.map(({ centre, width, name }, i) => {
    const share = (centre - first.centre) / first.width + 0.5;
    const level = 255 * (header.whiteIsLow ? 1 - share : share);
    return { name: name || `window ${i + 2} of the file`, width: (255 * width) / first.width, level };
  });
  return [{ name: first ? "as the file says" : "whole range", ...WHOLE }, ...told, ...OWN];
}

// "W 2000 L 1000" in the values of the DICOM file, or "".
export function inDicom({ width, level }, header, result) {
  const first = base(header, result);
  if (!first) return "";
  const share = header.whiteIsLow ? 1 - level / 255 : level / 255;
  const centre = first.centre + (share - 0.5) * first.width;
  return `DICOM W ${Math.round((width / 255) * first.width)} L ${Math.round(centre)}`;
}
