// Mouse, touch and pen on the radiograph, as in a radiology workstation.

import { pixelRatio } from "./dom.js";

const SPEED = 0.6; // gray levels per pixel of a drag

export function watchGestures(canvas, viewer, ruler = null, magnifier = null) {
  const pointers = new Map();
  let windowing = false;
  const onCanvas = (event) => {
    const box = canvas.getBoundingClientRect();
    return { x: (event.clientX - box.left) * pixelRatio(), y: (event.clientY - box.top) * pixelRatio() };
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
    pointers.set(event.pointerId, onCanvas(event));
    windowing = event.pointerType === "mouse" && (event.button === 2 || event.shiftKey);
    if (ruler?.active && viewer.image && !windowing && pointers.size === 1) ruler.begin(onCanvas(event));
  });

  canvas.addEventListener("pointermove", (event) => {
    const now = onCanvas(event);
    magnifier?.move(now);
    const before = pointers.get(event.pointerId);
    if (!before) return;
    const [dx, dy] = [now.x - before.x, now.y - before.y];
    if (pointers.size === 2) pinch(event.pointerId, before, now);
    else if (windowing) {
      const { width, level } = viewer.window;
      viewer.setWindow(width + (SPEED * dx) / pixelRatio(), level + (SPEED * dy) / pixelRatio());
    } else if (ruler?.active) ruler.drag(now);
    else viewer.panBy(dx, dy);
    pointers.set(event.pointerId, now);
  });

  const release = (event) => pointers.delete(event.pointerId);
  canvas.addEventListener("pointerup", release);
  canvas.addEventListener("pointercancel", release);
  canvas.addEventListener("pointerleave", () => magnifier?.move(null));

  function pinch(id, before, now) {
    const [, other] = [...pointers].find(([pointer]) => pointer !== id);
    const distanceTo = (point) => Math.hypot(point.x - other.x, point.y - other.y) || 1;
    viewer.zoomBy(distanceTo(now) / distanceTo(before), { x: (now.x + other.x) / 2, y: (now.y + other.y) / 2 });
    viewer.panBy((now.x - before.x) / 2, (now.y - before.y) / 2);
  }

  // One finger scrolls the page, unless the image is zoomed or the ruler is active.
  viewer.addEventListener("view", () => {
    canvas.classList.toggle("zoomed", viewer.zoom !== null);
    canvas.classList.toggle("measuring", Boolean(ruler?.active));
  });
}
