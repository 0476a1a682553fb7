// Mouse, touch and pen on the radiograph, as radiologists know them.

const SPEED = 0.6; // gray levels a pixel of drag

export function watchGestures(canvas, viewer, ruler = null, magnifier = null) {
  const fingers = new Map();
  let windowing = false;
  const ratio = () => window.devicePixelRatio || 1;
  const onCanvas = (event) => {
    const box = canvas.getBoundingClientRect();
    return { x: (event.clientX - box.left) * ratio(), y: (event.clientY - box.top) * ratio() };
  };

  canvas.addEventListener("contextmenu", (event) => event.preventDefault());
  canvas.addEventListener("dblclick", () => viewer.reset());
  canvas.addEventListener(
    "wheel",
    (event) => {
      event.preventDefault();
      viewer.zoomBy(Math.exp(-event.deltaY * (event.deltaMode === 1 ? 0.05 : 0.0015)), onCanvas(event));
    },
    { passive: false },
  );

  canvas.addEventListener("pointerdown", (event) => {
    canvas.setPointerCapture(event.pointerId);
    fingers.set(event.pointerId, onCanvas(event));
    windowing = event.pointerType === "mouse" && (event.button === 2 || event.shiftKey);
    if (ruler?.active && viewer.film && !windowing && fingers.size === 1) ruler.begin(onCanvas(event));
  });

  canvas.addEventListener("pointermove", (event) => {
    const now = onCanvas(event);
    magnifier?.move(now);
    const before = fingers.get(event.pointerId);
    if (!before) return;
    const [dx, dy] = [now.x - before.x, now.y - before.y];
    if (fingers.size === 2) pinch(event.pointerId, before, now);
    else if (windowing) {
      const { width, level } = viewer.window;
      viewer.setWindow(width + (SPEED * dx) / ratio(), level + (SPEED * dy) / ratio());
    } else if (ruler?.active) ruler.drag(now);
    else viewer.panBy(dx, dy);
    fingers.set(event.pointerId, now);
  });

  const lift = (event) => fingers.delete(event.pointerId);
  canvas.addEventListener("pointerup", lift);
  canvas.addEventListener("pointercancel", lift);
  canvas.addEventListener("pointerleave", () => magnifier?.move(null));

  function pinch(id, before, now) {
    const [other] = [...fingers].find(([finger]) => finger !== id).slice(1);
    const apart = (point) => Math.hypot(point.x - other.x, point.y - other.y) || 1;
    viewer.zoomBy(apart(now) / apart(before), { x: (now.x + other.x) / 2, y: (now.y + other.y) / 2 });
    viewer.panBy((now.x - before.x) / 2, (now.y - before.y) / 2);
  }

  // A film that fits need not be moved, so one finger scrolls the page, unless it draws.
  viewer.addEventListener("view", () => {
    canvas.classList.toggle("zoomed", viewer.zoom !== null);
    canvas.classList.toggle("drawing", Boolean(ruler?.active));
  });
}
