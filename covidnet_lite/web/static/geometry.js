// Where an image lies on a canvas, rotated and mirrored, and which side of the patient lies at which edge.

const OPPOSITE = { L: "R", R: "L", A: "P", P: "A", H: "F", F: "H" };
export const EDGES = ["top", "right", "bottom", "left"];

// Image pixels -> canvas pixels. view: {centre (fractions), scale, turn (quarters), mirrored}.
export function imageToCanvas({ centre, scale, turn, mirrored }, image, canvas) {
  return new DOMMatrix()
    .translate(canvas.width / 2, canvas.height / 2)
    .rotate(90 * turn)
    .scale(mirrored ? -scale : scale, scale)
    .translate(-centre.x * image.originalWidth, -centre.y * image.originalHeight);
}

// The scale at which the whole image fits.
export function fitScale({ originalWidth: w, originalHeight: h }, turn, canvas) {
  const [across, down] = turn % 2 ? [h, w] : [w, h];
  return Math.min(canvas.width / across, canvas.height / down);
}

// PatientOrientation, such as ["L", "F"] -> the side at each edge of the screen: {top: "H", right: "L", ...}.
export function sides([across, down], turn, mirrored) {
  const opposite = (letters) => [...letters].map((letter) => OPPOSITE[letter]).join("");
  const right = mirrored ? opposite(across) : across;
  const clockwise = [opposite(down), right, down, opposite(right)]; // from the top, before the rotation
  return Object.fromEntries(EDGES.map((edge, i) => [edge, clockwise[(i - turn + 4) % 4]]));
}

// The distance of two points of the image in millimetres, or in pixels where the header has no spacing.
export function distance(from, to, { spacing, atDetector } = {}) {
  const [dx, dy] = [to.x - from.x, to.y - from.y];
  if (!spacing) return `${Math.round(Math.hypot(dx, dy))} px`;
  const mm = Math.hypot(dx * spacing[1], dy * spacing[0]);
  return `${mm.toFixed(1)} mm${atDetector ? " at the detector" : ""}`;
}
