// The viewer's buttons, sliders and menus, and what stands in the corners of the film.

import { byId, element } from "./dom.js";
import { EDGES, sides } from "./geometry.js";
import { inDicom, presets } from "./windows.js";

export class Toolbar {
  #before = 0.45; // the map's opacity when it was last seen
  #offered = []; // presets of the film on screen

  // shown: () => the case whose film is in the viewer.
  constructor(viewer, ruler, magnifier, shown) {
    Object.assign(this, { viewer, ruler, magnifier, shown });
    this.actions = {
      invert: () => this.#change({ inverted: !viewer.inverted }),
      rotate: () => viewer.rotate(),
      flip: () => viewer.flip(),
      actual: () => viewer.actualSize(),
      reset: () => viewer.reset(),
      ruler: () => this.#press("ruler", ruler.toggle()),
      magnifier: () => this.#press("magnifier", magnifier.toggle()),
      full: () => this.#fullScreen(),
      "zoom-in": () => viewer.zoomBy(1.4),
      "zoom-out": () => viewer.zoomBy(1 / 1.4),
    };
    for (const [id, action] of Object.entries(this.actions)) byId(id).addEventListener("click", action);
    byId("window").addEventListener("input", (event) => viewer.setWindow(Number(event.target.value), viewer.window.level));
    byId("level").addEventListener("input", (event) => viewer.setWindow(viewer.window.width, Number(event.target.value)));
    byId("opacity").addEventListener("input", (event) => this.setOpacity(Number(event.target.value) / 100));
    byId("evidence-label").addEventListener("change", (event) => this.#change({ label: event.target.value }));
    byId("preset").addEventListener("change", (event) => {
      const chosen = this.#offered[Number(event.target.value)];
      if (chosen) viewer.setWindow(chosen.width, chosen.level);
    });
    viewer.addEventListener("view", () => this.#show());
    document.addEventListener("fullscreenchange", () => byId("full").setAttribute("aria-pressed", String(Boolean(document.fullscreenElement))));
  }

  // Another film: its windows and its ruler.
  take(one) {
    this.#offered = one ? presets(one.header, one.result) : [];
    byId("preset").replaceChildren(
      element("option", { value: "", text: "Preset" }),
      ...this.#offered.map(({ name }, i) => element("option", { value: String(i), text: name })),
    );
    this.ruler.header = one?.header ?? {};
    this.ruler.clear();
  }

  setOpacity(share) {
    this.viewer.opacity = Math.min(1, Math.max(0, share));
    byId("opacity").value = Math.round(this.viewer.opacity * 100);
    this.viewer.draw();
  }

  toggleMap() {
    const now = this.viewer.opacity;
    this.setOpacity(now > 0 ? 0 : this.#before);
    if (now > 0) this.#before = now;
  }

  // What the map on screen shows, in words; "" without one.
  legend() {
    const { mapShown: map, label } = this.viewer;
    if (!map) return "";
    const answered = Boolean(this.shown()?.result?.labels?.length);
    return `Evidence for ${label}${answered ? "" : " (no answer)"}, logits: 0 to ${Math.max(0, map.most).toFixed(1)}`;
  }

  #change(what) {
    Object.assign(this.viewer, what);
    this.viewer.draw();
  }

  #press(id, on) {
    byId(id).setAttribute("aria-pressed", String(on));
    this.viewer.draw();
  }

  #fullScreen() {
    if (document.fullscreenElement) document.exitFullscreen();
    else byId("viewer").requestFullscreen?.();
  }

  #show() {
    const { window, inverted, film, scale, turn, mirrored } = this.viewer;
    byId("window").value = window.width;
    byId("level").value = window.level;
    byId("invert").setAttribute("aria-pressed", String(inverted));
    byId("flip").setAttribute("aria-pressed", String(mirrored));
    const one = this.shown();
    const at = this.#offered.findIndex(({ width, level }) => width === window.width && level === window.level);
    byId("preset").value = at < 0 ? "" : String(at);
    const parts = [`W ${Math.round(window.width)} L ${Math.round(window.level)}`, one && inDicom(window, one.header, one.result), `${Math.round(scale * 100)}%`];
    byId("corner-window").textContent = film ? [...parts.filter(Boolean), ...(inverted ? ["inverted"] : [])].join("  ") : "";
    this.#showLegend();
    const letters = film && one?.header.orientation ? sides(one.header.orientation, turn, mirrored) : {};
    for (const edge of EDGES) byId(`edge-${edge}`).textContent = letters[edge] ?? "";
  }

  #showLegend() {
    const { mapShown: map, label } = this.viewer;
    byId("map-legend").hidden = !map;
    if (!map) return;
    const answered = Boolean(this.shown()?.result?.labels?.length);
    byId("map-label").textContent = `Evidence for ${label}${answered ? "" : " (no answer)"}, logits:`;
    byId("map-most").textContent = Math.max(0, map.most).toFixed(1);
  }
}

// On paper, too: which side of the patient is on the left, and which on the right.
export function markSides(canvas, { orientation }, { turn, mirrored }) {
  if (!orientation) return;
  const { left, right } = sides(orientation, turn, mirrored);
  const context = canvas.getContext("2d");
  const size = Math.round(canvas.width / 25);
  Object.assign(context, { font: `bold ${size}px sans-serif`, fillStyle: "#fff", strokeStyle: "#000", lineWidth: size / 8 });
  for (const [letters, x, align] of [[left, size / 2, "left"], [right, canvas.width - size / 2, "right"]]) {
    context.textAlign = align;
    context.strokeText(letters, x, canvas.height / 2);
    context.fillText(letters, x, canvas.height / 2);
  }
}

export function showColours(colours) {
  const canvas = byId("colours");
  const image = new ImageData(256, 1);
  colours.forEach((colour, i) => image.data.set([...colour, 255], 4 * i));
  canvas.getContext("2d").putImageData(image, 0, 0);
}
