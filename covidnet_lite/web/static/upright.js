// A film that is shown wrongly, made anew as the guard says it should be.

const WAYS = [
  [/to the left/, { quarters: 1 }],
  [/to the right/, { quarters: 3 }],
  [/upside down/, { quarters: 2 }],
  [/inverted/, { inverted: true }],
];

// How to put it right, or null: by the guard's reason, as covidnet_lite/network/guard.py words it.
export function remedy(result) {
  if (result?.code !== "shown-wrongly") return null;
  return WAYS.find(([words]) => words.test(result.reason))?.[1] ?? null;
}

// The picture put right, as a PNG file.
export async function upright({ width, height, pixels }, { quarters = 0, inverted = false }, name) {
  const film = new OffscreenCanvas(width, height);
  const image = new ImageData(width, height);
  pixels.forEach((gray, i) => {
    const shown = inverted ? 255 - gray : gray;
    image.data.set([shown, shown, shown, 255], 4 * i);
  });
  film.getContext("2d").putImageData(image, 0, 0);
  const sides = quarters % 2 ? [height, width] : [width, height];
  const turned = new OffscreenCanvas(...sides);
  const context = turned.getContext("2d");
  context.translate(sides[0] / 2, sides[1] / 2);
  context.rotate((quarters * Math.PI) / 2);
  context.drawImage(film, -width / 2, -height / 2);
  return new File([await turned.convertToBlob({ type: "image/png" })], `${name.replace(/\.\w+$/, "")} (put right).png`);
}
