// The viewer's buttons, sliders and menus, and the texts in its corners and at its edges.

import { byId, element, pixelRatio, setOptions } from "./dom.js";
import { EDGES, sides } from "./geometry.js";
import { inDicom, presets } from "./windows.js";

export class Toolbar {
  #lastOpacity = 0.45; // of the map, before it was hidden
  #presets = []; // of the displayed radiograph

  // displayed: () => the entry whose image is in the viewer.
  constructor(viewer, ruler, magnifier, displayed) {
    Object.assign(this, { viewer, ruler, magnifier, displayed });
    this.actions = {
      invert: () => this.#set({ inverted: !viewer.inverted }),
      rotate: () => viewer.rotate(),
      flip: () => viewer.flip(),
      actual: () => viewer.actualSize(),
      reset: () => viewer.reset(),
      ruler: () => this.#toggle("ruler", ruler),
      magnifier: () => this.#toggle("magnifier", magnifier),
      "full-screen": () => this.#toggleFullScreen(),
      "zoom-in": () => viewer.zoomBy(1.4),
      "zoom-out": () => viewer.zoomBy(1 / 1.4),
    };
    for (const [id, action] of Object.entries(this.actions)) byId(id).addEventListener("click", action);
    byId("window").addEventListener("input", (event) => viewer.setWindow(Number(event.target.value), viewer.window.level));
    byId("level").addEventListener("input", (event) => viewer.setWindow(viewer.window.width, Number(event.target.value)));
    byId("opacity").addEventListener("input", (event) => this.setOpacity(Number(event.target.value) / 100));
    byId("evidence-label").addEventListener("change", (event) => this.#set({ label: event.target.value }));
    byId("preset").addEventListener("change", (event) => {
      const preset = this.#presets[Number(event.target.value)];
      if (preset) viewer.setWindow(preset.width, preset.level);
    });
    viewer.addEventListener("view", () => this.#show());
    document.addEventListener("fullscreenchange", () => setPressed("full-screen", Boolean(document.fullscreenElement)));
  }

  // Takes presets and ruler scale from the entry's header.
  update(entry) {
    this.#presets = entry ? presets(entry.header, entry.result) : [];
    setOptions(byId("preset"), [["", "Preset"], ...this.#presets.map(({ name }, i) => [String(i), name])]);
    this.ruler.header = entry?.header ?? {};
    this.ruler.clear();
  }

  setOpacity(share) {
    this.viewer.opacity = Math.min(1, Math.max(0, share));
    byId("opacity").value = Math.round(this.viewer.opacity * 100);
    this.viewer.draw();
  }

  toggleMap() {
    const { opacity } = this.viewer;
    this.setOpacity(opacity > 0 ? 0 : this.#lastOpacity);
    if (opacity > 0) this.#lastOpacity = opacity;
  }

  #set(view) {
    Object.assign(this.viewer, view);
    this.viewer.draw();
  }

  #toggle(id, tool) {
    setPressed(id, tool.toggle());
    this.viewer.draw();
  }

  #toggleFullScreen() {
    if (document.fullscreenElement) document.exitFullscreen();
    else byId("viewer").requestFullscreen?.();
  }

  #show() {
    const { window, inverted, image, scale, turn, mirrored, mapShown } = this.viewer;
    const entry = this.displayed();
    byId("window").value = window.width;
    byId("level").value = window.level;
    setPressed("invert", inverted);
    setPressed("flip", mirrored);
    const preset = this.#presets.findIndex(({ width, level }) => width === window.width && level === window.level);
    byId("preset").value = preset < 0 ? "" : String(preset);
    const values = [
      `W ${Math.round(window.width)} L ${Math.round(window.level)}`, entry && inDicom(window, entry.header, entry.result),
      `${Math.round(scale * 100)}%`, inverted && "inverted",
    ];
    byId("corner-window").replaceChildren(...(image ? values : []).filter(Boolean).map((text) => element("span", { text })));
    byId("map-legend").hidden = !mapShown;
    if (mapShown) {
      byId("map-label").textContent = `${mapTitle(this.viewer, entry)}:`;
      byId("map-maximum").textContent = maximum(this.viewer);
    }
    const letters = image && entry?.header.orientation ? sides(entry.header.orientation, turn, mirrored) : {};
    for (const edge of EDGES) byId(`edge-${edge}`).textContent = letters[edge] ?? "";
  }
}

const setPressed = (id, pressed) => byId(id).setAttribute("aria-pressed", String(pressed));

const maximum = ({ mapShown }) => Math.max(0, mapShown.maximum).toFixed(1);

const mapTitle = ({ label }, entry) => `Evidence for ${label}${entry?.result?.labels?.length ? "" : " (no answer)"}, logits`;

// The legend of the map in a viewer, as text; "" without a map.
export function mapLegend(viewer, entry) {
  return viewer.mapShown ? `${mapTitle(viewer, entry)}: 0 to ${maximum(viewer)}` : "";
}

// Draws the patient's sides at the left and right edges of a canvas.
export function drawSides(canvas, { orientation }, { turn, mirrored }) {
  if (!orientation) return;
  const { left, right } = sides(orientation, turn, mirrored);
  const context = canvas.getContext("2d");
  const size = Math.round(Math.max(canvas.width / 25, 16 * pixelRatio()));
  Object.assign(context, { font: `bold ${size}px sans-serif`, fillStyle: "#fff", strokeStyle: "#000", lineWidth: size / 8 });
  for (const [letters, x, align] of [[left, size / 2, "left"], [right, canvas.width - size / 2, "right"]]) {
    context.textAlign = align;
    context.strokeText(letters, x, canvas.height / 2);
    context.fillText(letters, x, canvas.height / 2);
  }
}

export function showColours(colours) {
  const data = new ImageData(256, 1);
  colours.forEach((colour, i) => data.data.set([...colour, 255], 4 * i));
  byId("colours").getContext("2d").putImageData(data, 0, 0);
}
