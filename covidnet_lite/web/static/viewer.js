// A radiograph on a canvas: window and level, inversion, zoom, and the evidence map over it.

import { paint } from "./evidence.js";

export const WINDOW = Object.freeze({ width: 255, level: 127.5 });
const FARTHEST = 16; // screen pixels for one of the film
const GROUND = "#000";

// Tells "view" when what is shown has changed, "detail" when more pixels than there are would help.
export class Viewer extends EventTarget {
  #canvas;
  #context;
  #film = null; // {width, height, pixels, originalWidth, originalHeight}
  #gray = null; // the film, windowed, as a canvas
  #grayFor = "";
  #maps = null; // label -> {canvas, most}
  #frame = null; // the part of the film that the network saw, in fractions
  #drawn = 0;
  window = { ...WINDOW };
  inverted = false;
  label = null;
  opacity = 0.45;
  // The film's point in the middle of the canvas (fractions), and canvas pixels for one of the original's.
  centre = { x: 0.5, y: 0.5 };
  zoom = null; // null: as large as fits

  constructor(canvas) {
    super();
    this.#canvas = canvas;
    this.#context = canvas.getContext("2d", { alpha: false });
    new ResizeObserver(() => this.#fitCanvas()).observe(canvas.parentElement);
  }

  // Another film, or the same with more pixels, which leaves the view as it is.
  show(film, { same = false } = {}) {
    this.#film = film;
    this.#grayFor = "";
    if (!same) this.reset();
    this.draw();
  }

  // grids: label -> {strength: rows of 0 to 1, most: logits that 1 stands for}, or null; frame: [left, top, right, bottom] in fractions.
  overlay(grids, frame, colours, label) {
    const painted = Object.entries(grids ?? {}).map(([name, { strength, most }]) => [
      name,
      { canvas: paint(strength, colours), most },
    ]);
    this.#maps = grids && Object.fromEntries(painted);
    this.#frame = frame;
    this.label = label;
    this.draw();
  }

  get film() {
    return this.#film;
  }

  get hasMap() {
    return Boolean(this.#maps?.[this.label]);
  }

  // The map that is drawn, or null.
  get mapShown() {
    return this.#film && this.hasMap && this.opacity > 0 ? this.#maps[this.label] : null;
  }

  get scale() {
    return this.zoom ?? this.#fitting();
  }

  reset() {
    Object.assign(this, { window: { ...WINDOW }, inverted: false, centre: { x: 0.5, y: 0.5 }, zoom: null });
    this.draw();
  }

  setWindow(width, level) {
    this.window = { width: Math.min(510, Math.max(2, width)), level: Math.min(255, Math.max(0, level)) };
    this.draw();
  }

  // By a factor, about a point of the canvas (its pixels); its middle if none is given.
  zoomBy(factor, about = { x: this.#canvas.width / 2, y: this.#canvas.height / 2 }) {
    if (!this.#film) return;
    const before = this.#toFilm(about);
    const least = this.#fitting();
    const wanted = Math.min(FARTHEST, this.scale * factor);
    this.zoom = wanted <= least ? null : wanted;
    if (this.zoom === null) this.centre = { x: 0.5, y: 0.5 };
    else {
      const after = this.#toFilm(about);
      this.#moveTo(this.centre.x + before.x - after.x, this.centre.y + before.y - after.y);
    }
    this.draw();
  }

  // By canvas pixels.
  panBy(dx, dy) {
    if (!this.#film || this.zoom === null) return;
    const { originalWidth: w, originalHeight: h } = this.#film;
    this.#moveTo(this.centre.x - dx / (w * this.scale), this.centre.y - dy / (h * this.scale));
    this.draw();
  }

  draw() {
    cancelAnimationFrame(this.#drawn);
    this.#drawn = requestAnimationFrame(() => {
      this.#paint();
      this.dispatchEvent(new Event("view"));
    });
  }

  #moveTo(x, y) {
    const within = (v) => Math.min(1, Math.max(0, v));
    this.centre = { x: within(x), y: within(y) };
  }

  #toFilm(point) {
    const { originalWidth: w, originalHeight: h } = this.#film;
    return {
      x: this.centre.x + (point.x - this.#canvas.width / 2) / (w * this.scale),
      y: this.centre.y + (point.y - this.#canvas.height / 2) / (h * this.scale),
    };
  }

  #fitting() {
    if (!this.#film) return 1;
    const { originalWidth: w, originalHeight: h } = this.#film;
    return Math.min(this.#canvas.width / w, this.#canvas.height / h);
  }

  #fitCanvas() {
    const box = this.#canvas.parentElement.getBoundingClientRect();
    const ratio = window.devicePixelRatio || 1;
    this.#canvas.width = Math.max(1, Math.round(box.width * ratio));
    this.#canvas.height = Math.max(1, Math.round(box.height * ratio));
    this.draw();
  }

  #paint() {
    const context = this.#context;
    const film = this.#film;
    context.setTransform(1, 0, 0, 1, 0, 0);
    context.fillStyle = GROUND;
    context.fillRect(0, 0, this.#canvas.width, this.#canvas.height);
    if (!film) return;
    const width = film.originalWidth * this.scale;
    const height = film.originalHeight * this.scale;
    context.translate(this.#canvas.width / 2 - this.centre.x * width, this.#canvas.height / 2 - this.centre.y * height);
    context.imageSmoothingQuality = "high";
    context.imageSmoothingEnabled = width / film.width < 4; // so close, one wants to see the pixels
    context.drawImage(this.#windowed(), 0, 0, width, height);
    if (this.mapShown) this.#paintMap(width, height);
    if (film.width < film.originalWidth && width > film.width) this.dispatchEvent(new Event("detail"));
  }

  #paintMap(width, height) {
    const context = this.#context;
    const [left, top, right, bottom] = this.#frame.map((share, i) => share * (i % 2 ? height : width));
    context.save();
    context.imageSmoothingEnabled = true;
    context.globalAlpha = this.opacity;
    context.drawImage(this.#maps[this.label].canvas, left, top, right - left, bottom - top);
    context.globalAlpha = 0.5;
    context.strokeStyle = "#9fd3e6";
    context.lineWidth = window.devicePixelRatio || 1;
    context.setLineDash([6, 6]);
    context.strokeRect(left, top, right - left, bottom - top);
    context.restore();
  }

  #windowed() {
    const film = this.#film;
    const wanted = `${this.window.width} ${this.window.level} ${this.inverted}`;
    if (this.#grayFor === wanted) return this.#gray;
    if (this.#gray?.width !== film.width || this.#gray?.height !== film.height) {
      this.#gray = new OffscreenCanvas(film.width, film.height);
    }
    const table = grays(this.window, this.inverted);
    const image = new ImageData(film.width, film.height);
    const colours = new Uint32Array(image.data.buffer);
    const { pixels } = film;
    for (let i = 0; i < pixels.length; i += 1) colours[i] = table[pixels[i]];
    this.#gray.getContext("2d").putImageData(image, 0, 0);
    this.#grayFor = wanted;
    return this.#gray;
  }
}

// Gray level -> opaque gray as one number, 256 of them.
export function grays({ width, level }, inverted) {
  return Uint32Array.from({ length: 256 }, (_, gray) => {
    const share = Math.min(1, Math.max(0, (gray - level) / width + 0.5));
    const shown = Math.round(255 * (inverted ? 1 - share : share));
    return (0xff000000 | (shown << 16) | (shown << 8) | shown) >>> 0;
  });
}
