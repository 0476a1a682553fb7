// An image that the guard reports as rotated or inverted, made upright and with white bones.

// The words are those of convert/judge/shown_wrongly.py, which the manifest carries.
const CORRECTIONS = [
  [/to the left/, { quarters: 1 }],
  [/to the right/, { quarters: 3 }],
  [/upside down/, { quarters: 2 }],
  [/inverted/, { inverted: true }],
];

// {quarters, inverted}, or null where the guard reports nothing that can be corrected.
export function correctionFor(result) {
  if (result?.code !== "shown-wrongly") return null;
  return CORRECTIONS.find(([pattern]) => pattern.test(result.reason))?.[1] ?? null;
}

// The corrected image as a PNG file.
export async function correctedFile({ width, height, pixels }, { quarters = 0, inverted = false }, name) {
  const original = new OffscreenCanvas(width, height);
  const data = new ImageData(width, height);
  pixels.forEach((pixel, i) => {
    const gray = inverted ? 255 - pixel : pixel;
    data.data.set([gray, gray, gray, 255], 4 * i);
  });
  original.getContext("2d").putImageData(data, 0, 0);
  const size = quarters % 2 ? [height, width] : [width, height];
  const upright = new OffscreenCanvas(...size);
  const context = upright.getContext("2d");
  context.translate(size[0] / 2, size[1] / 2);
  context.rotate((quarters * Math.PI) / 2);
  context.drawImage(original, -width / 2, -height / 2);
  return new File([await upright.convertToBlob({ type: "image/png" })], `${name.replace(/\.\w+$/, "")} (corrected).png`);
}
