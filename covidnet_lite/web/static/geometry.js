// Where a film lies on a canvas, turned and mirrored as it may be, and which side of the patient lies at which edge.

const OPPOSITE = { L: "R", R: "L", A: "P", P: "A", H: "F", F: "H" };
export const EDGES = ["top", "right", "bottom", "left"];

// The film's pixels -> those of the canvas. view: {centre (fractions), scale, turn (quarters), mirrored}.
export function placed({ centre, scale, turn, mirrored }, film, canvas) {
  return new DOMMatrix()
    .translate(canvas.width / 2, canvas.height / 2)
    .rotate(90 * turn)
    .scale(mirrored ? -scale : scale, scale)
    .translate(-centre.x * film.originalWidth, -centre.y * film.originalHeight);
}

// The scale at which all of the film fits.
export function fitting({ originalWidth: w, originalHeight: h }, turn, canvas) {
  const [across, down] = turn % 2 ? [h, w] : [w, h];
  return Math.min(canvas.width / across, canvas.height / down);
}

// ["L", "F"], as PatientOrientation has it -> what lies at each edge of the screen: {top: "H", right: "L", ...}.
export function sides(orientation, turn, mirrored) {
  const [across, down] = orientation;
  const against = (letters) => [...letters].map((letter) => OPPOSITE[letter]).join("");
  const right = mirrored ? against(across) : across;
  const letters = [against(down), right, down, against(right)]; // clockwise from the top, before it is turned
  return Object.fromEntries(EDGES.map((edge, i) => [edge, letters[(i - turn + 4) % 4]]));
}

// Film pixels from one point to another -> millimetres, or pixels where the header has no spacing.
export function distance(from, to, { spacing, atDetector } = {}) {
  const [dx, dy] = [to.x - from.x, to.y - from.y];
  if (!spacing) return `${Math.round(Math.hypot(dx, dy))} px`;
  const mm = Math.hypot(dx * spacing[1], dy * spacing[0]);
  return `${mm.toFixed(1)} mm${atDetector ? " at the detector" : ""}`;
}
