// Window and level: presets, the windows of the DICOM header, and values in its units.

export const FULL_RANGE = Object.freeze({ width: 255, level: 127.5 });
const PRESETS = [
  { name: "mediastinum, bones", width: 130, level: 180 },
  { name: "lungs", width: 130, level: 75 },
  { name: "low contrast", width: 420, level: 127.5 },
];

// The header's window that the server has applied, or null.
function appliedWindow(header, result) {
  return result?.note_codes?.includes("window-left-aside") ? null : (header?.windows?.[0] ?? null);
}

// [{name, width, level}], in gray levels of the image.
export function presets(header, result) {
  const first = appliedWindow(header, result);
  if (!first) return [{ name: "full range", ...FULL_RANGE }, ...PRESETS];
  const others = header.windows.slice(1).map(({ centre, width, name }, i) => {
    const share = (centre - first.centre) / first.width + 0.5;
    const level = 255 * (header.whiteIsLow ? 1 - share : share);
    return { name: name || `window ${i + 2} of the file`, width: (255 * width) / first.width, level };
  });
  return [{ name: first.name || "window 1 of the file", ...FULL_RANGE }, ...others, ...PRESETS];
}

// "DICOM W 2000 L 1000" in the values of the file, or "".
export function inDicom({ width, level }, header, result) {
  const first = appliedWindow(header, result);
  if (!first) return "";
  const share = header.whiteIsLow ? 1 - level / 255 : level / 255;
  const centre = first.centre + (share - 0.5) * first.width;
  return `DICOM W ${Math.round((width / 255) * first.width)} L ${Math.round(centre)}`;
}
