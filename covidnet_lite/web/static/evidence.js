// The evidence map: a small grid, enlarged and coloured as in covidnet_lite/evidence/heatmap.py.

const SIDE = 256; // pixels; the canvas enlarges it further

// grid: rows of 0 to 1; colours: 256 of [red, green, blue]. Returns a canvas whose opacity is the strength.
export function paint(grid, colours) {
  const canvas = new OffscreenCanvas(SIDE, SIDE);
  const image = new ImageData(SIDE, SIDE);
  const strengths = enlarge(grid, SIDE);
  for (let i = 0; i < strengths.length; i += 1) {
    const level = Math.round(255 * Math.min(1, Math.max(0, strengths[i])));
    image.data.set(colours[level], 4 * i);
    image.data[4 * i + 3] = level;
  }
  canvas.getContext("2d").putImageData(image, 0, 0);
  return canvas;
}

// Bicubic, rows first.
export function enlarge(grid, side) {
  const wide = grid.map((row) => stretch(row, side));
  const result = new Float32Array(side * side);
  for (let x = 0; x < side; x += 1) {
    const column = stretch(wide.map((row) => row[x]), side);
    for (let y = 0; y < side; y += 1) result[y * side + x] = column[y];
  }
  return result;
}

function stretch(values, side) {
  const last = values.length - 1;
  const at = (i) => values[Math.min(last, Math.max(0, i))];
  return Float32Array.from({ length: side }, (_, x) => {
    const place = ((x + 0.5) * values.length) / side - 0.5;
    const from = Math.floor(place);
    let sum = 0;
    for (let i = from - 1; i <= from + 2; i += 1) sum += weight(place - i) * at(i);
    return sum;
  });
}

// Keys' cubic with a = -0.5, as in Pillow.
function weight(distance) {
  const d = Math.abs(distance);
  if (d < 1) return (1.5 * d - 2.5) * d * d + 1;
  return d < 2 ? ((-0.5 * d + 2.5) * d - 4) * d + 2 : 0;
}
