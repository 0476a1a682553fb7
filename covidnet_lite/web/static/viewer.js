// A radiograph on a canvas: window and level, inversion, zoom, turns, and the evidence map over it.

import { paint } from "./evidence.js";
import { fitting, placed } from "./geometry.js";
import { WHOLE } from "./windows.js";

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
  window = { ...WHOLE };
  inverted = false;
  label = null;
  opacity = 0.45;
  // The film's point in the middle of the canvas (fractions), and canvas pixels for one of the original's.
  centre = { x: 0.5, y: 0.5 };
  zoom = null; // null: as large as fits
  turn = 0; // quarters, clockwise
  mirrored = false; // before it is turned
  overlays = []; // (context, viewer) => ..., painted over the film

  constructor(canvas) {
    super();
    this.#canvas = canvas;
    this.#context = canvas.getContext("2d", { alpha: false });
    new ResizeObserver(() => this.#fitCanvas()).observe(canvas);
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

  // The film's pixels -> the canvas's.
  get matrix() {
    return placed(this, this.#film, this.#canvas);
  }

  reset() {
    const centre = { x: 0.5, y: 0.5 };
    Object.assign(this, { window: { ...WHOLE }, inverted: false, centre, zoom: null, turn: 0, mirrored: false });
    this.draw();
  }

  setWindow(width, level) {
    this.window = { width: Math.min(510, Math.max(2, width)), level: Math.min(255, Math.max(0, level)) };
    this.draw();
  }

  rotate() {
    this.turn = (this.turn + 1) % 4;
    this.draw();
  }

  // Left and right as they are on the screen.
  flip() {
    Object.assign(this, { mirrored: !this.mirrored, turn: (4 - this.turn) % 4 });
    this.draw();
  }

  // By a factor, about a point of the canvas (its pixels); its middle if none is given.
  zoomBy(factor, about = { x: this.#canvas.width / 2, y: this.#canvas.height / 2 }) {
    if (!this.#film) return;
    const before = this.toFilm(about);
    const wanted = Math.min(FARTHEST, this.scale * factor);
    this.zoom = wanted <= this.#fitting() ? null : wanted;
    if (this.zoom === null) this.centre = { x: 0.5, y: 0.5 };
    else this.#move(before, this.toFilm(about));
    this.draw();
  }

  // One pixel of the film on one of the screen.
  actualSize() {
    if (!this.#film) return;
    this.zoom = 1;
    this.draw();
  }

  // By canvas pixels.
  panBy(dx, dy) {
    if (!this.#film || this.zoom === null) return;
    this.#move(this.toFilm({ x: 0, y: 0 }), this.toFilm({ x: dx, y: dy }));
    this.draw();
  }

  // A point of the canvas -> of the film, in its pixels.
  toFilm({ x, y }) {
    return this.matrix.inverse().transformPoint({ x, y });
  }

  draw() {
    cancelAnimationFrame(this.#drawn);
    this.#drawn = requestAnimationFrame(() => {
      this.#paint();
      this.dispatchEvent(new Event("view"));
    });
  }

  // Film, window, turns and map as on the screen, but whole and without what lies over it; null without a film.
  copy(longest) {
    if (!this.#film) return null;
    const { originalWidth: w, originalHeight: h } = this.#film;
    const scale = Math.min(1, longest / Math.max(w, h));
    const sizes = [w, h].map((side) => Math.round(side * scale));
    const [width, height] = this.turn % 2 ? sizes.reverse() : sizes;
    const canvas = Object.assign(document.createElement("canvas"), { width, height });
    const view = { ...this, centre: { x: 0.5, y: 0.5 }, scale };
    this.paintFilm(canvas.getContext("2d"), placed(view, this.#film, canvas));
    return canvas;
  }

  paintFilm(context, matrix) {
    const { width, height, originalWidth, originalHeight } = this.#film;
    const scale = Math.hypot(matrix.a, matrix.b);
    context.save();
    context.setTransform(matrix);
    context.imageSmoothingQuality = "high";
    context.imageSmoothingEnabled = (scale * originalWidth) / width < 4; // so close, one wants to see the pixels
    context.drawImage(this.#windowed(), 0, 0, originalWidth, originalHeight);
    if (this.mapShown) this.#paintMap(context, scale);
    context.restore();
  }

  #move(from, to) {
    const { originalWidth: w, originalHeight: h } = this.#film;
    const within = (v) => Math.min(1, Math.max(0, v));
    this.centre = { x: within(this.centre.x + (from.x - to.x) / w), y: within(this.centre.y + (from.y - to.y) / h) };
  }

  #fitting() {
    return this.#film ? fitting(this.#film, this.turn, this.#canvas) : 1;
  }

  #fitCanvas() {
    const box = this.#canvas.getBoundingClientRect();
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
    this.paintFilm(context, this.matrix);
    for (const overlay of this.overlays) overlay(context, this);
    if (film.width < film.originalWidth && film.originalWidth * this.scale > film.width) {
      this.dispatchEvent(new Event("detail"));
    }
  }

  #paintMap(context, scale) {
    const { originalWidth, originalHeight } = this.#film;
    const edge = (share, i) => share * (i % 2 ? originalHeight : originalWidth);
    const [left, top, right, bottom] = this.#frame.map(edge);
    context.save();
    context.imageSmoothingEnabled = true;
    context.globalAlpha = this.opacity;
    context.drawImage(this.#maps[this.label].canvas, left, top, right - left, bottom - top);
    context.globalAlpha = 0.5;
    context.strokeStyle = "#9fd3e6";
    context.lineWidth = (window.devicePixelRatio || 1) / scale;
    context.setLineDash([6 / scale, 6 / scale]);
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
