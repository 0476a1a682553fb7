// A radiograph on a canvas: window and level, inversion, zoom, rotation, and the evidence map over it.

import { pixelRatio } from "./dom.js";
import { paint } from "./evidence.js";
import { fitScale, imageToCanvas } from "./geometry.js";
import { FULL_RANGE } from "./windows.js";

const MAX_ZOOM = 16; // screen pixels per image pixel
const BACKGROUND = "#000";

// Events: "view" after each repaint, "detail" when the image has fewer pixels than the screen could show.
export class Viewer extends EventTarget {
  #canvas;
  #context;
  #image = null; // {width, height, pixels, originalWidth, originalHeight}
  #windowed = null; // a canvas: the image after window, level and inversion
  #windowedFor = ""; // the settings of that canvas
  #maps = null; // label -> {canvas, maximum}
  #frame = null; // the part of the image that the network saw, in fractions
  #animation = 0;
  window = { ...FULL_RANGE };
  inverted = false;
  label = null;
  opacity = 0.45;
  // The point of the image in the middle of the canvas (fractions).
  centre = { x: 0.5, y: 0.5 };
  zoom = null; // canvas pixels per pixel of the original; null: the whole image fits
  turn = 0; // quarters, clockwise
  mirrored = false; // before the rotation
  overlays = []; // (context, viewer) => ..., painted over the image

  constructor(canvas) {
    super();
    this.#canvas = canvas;
    this.#context = canvas.getContext("2d", { alpha: false });
    new ResizeObserver(() => this.#fitCanvas()).observe(canvas);
  }

  // same: the same image with more pixels, which leaves the view unchanged.
  show(image, { same = false } = {}) {
    this.#image = image;
    this.#windowedFor = "";
    if (!same) this.reset();
    this.draw();
  }

  // grids: label -> {strength: rows of 0 to 1, most: the logits for 1}, or null; frame: [left, top, right, bottom] in fractions.
  overlay(grids, frame, colours, label) {
    const map = ({ strength, most }) => ({ canvas: paint(strength, colours), maximum: most });
    this.#maps = Object.fromEntries(Object.entries(grids ?? {}).map(([name, grid]) => [name, map(grid)]));
    this.#frame = frame;
    this.label = label;
    this.draw();
  }

  get image() {
    return this.#image;
  }

  // The visible map, or null.
  get mapShown() {
    return this.#image && this.opacity > 0 ? (this.#maps?.[this.label] ?? null) : null;
  }

  get scale() {
    return this.zoom ?? this.#fitScale();
  }

  // Image pixels -> canvas pixels.
  get matrix() {
    return imageToCanvas(this, this.#image, this.#canvas);
  }

  reset() {
    const centre = { x: 0.5, y: 0.5 };
    Object.assign(this, { window: { ...FULL_RANGE }, inverted: false, centre, zoom: null, turn: 0, mirrored: false });
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

  // Swaps left and right as they are on the screen.
  flip() {
    Object.assign(this, { mirrored: !this.mirrored, turn: (4 - this.turn) % 4 });
    this.draw();
  }

  // By a factor, about a point in canvas pixels.
  zoomBy(factor, about = { x: this.#canvas.width / 2, y: this.#canvas.height / 2 }) {
    if (!this.#image) return;
    const before = this.toImage(about);
    const zoom = Math.min(MAX_ZOOM, this.scale * factor);
    this.zoom = zoom <= this.#fitScale() ? null : zoom;
    if (this.zoom === null) this.centre = { x: 0.5, y: 0.5 };
    else this.#move(before, this.toImage(about));
    this.draw();
  }

  // One pixel of the image per pixel of the screen.
  actualSize() {
    if (!this.#image) return;
    this.zoom = 1;
    this.draw();
  }

  // By canvas pixels.
  panBy(dx, dy) {
    if (!this.#image || this.zoom === null) return;
    this.#move(this.toImage({ x: 0, y: 0 }), this.toImage({ x: dx, y: dy }));
    this.draw();
  }

  // Canvas pixels -> image pixels.
  toImage({ x, y }) {
    return this.matrix.inverse().transformPoint({ x, y });
  }

  draw() {
    cancelAnimationFrame(this.#animation);
    this.#animation = requestAnimationFrame(() => {
      this.#paint();
      this.dispatchEvent(new Event("view"));
    });
  }

  // A canvas of the whole image, windowed, rotated and with its map, without overlays; null without an image.
  copy(longest) {
    if (!this.#image) return null;
    const { originalWidth: w, originalHeight: h } = this.#image;
    const scale = Math.min(1, longest / Math.max(w, h));
    const sizes = [w, h].map((side) => Math.round(side * scale));
    const [width, height] = this.turn % 2 ? sizes.reverse() : sizes;
    const canvas = Object.assign(document.createElement("canvas"), { width, height });
    const view = { ...this, centre: { x: 0.5, y: 0.5 }, scale };
    this.paintImage(canvas.getContext("2d"), imageToCanvas(view, this.#image, canvas));
    return canvas;
  }

  paintImage(context, matrix) {
    const { width, height, originalWidth, originalHeight } = this.#image;
    const scale = Math.hypot(matrix.a, matrix.b);
    context.save();
    context.setTransform(matrix);
    context.imageSmoothingQuality = "high";
    context.imageSmoothingEnabled = (scale * originalWidth) / width < 4; // so close, single pixels should show
    context.drawImage(this.#windowedImage(), 0, 0, originalWidth, originalHeight);
    if (this.mapShown) this.#paintMap(context, scale);
    context.restore();
  }

  #move(from, to) {
    const { originalWidth: w, originalHeight: h } = this.#image;
    const clamp = (share) => Math.min(1, Math.max(0, share));
    this.centre = { x: clamp(this.centre.x + (from.x - to.x) / w), y: clamp(this.centre.y + (from.y - to.y) / h) };
  }

  #fitScale() {
    return this.#image ? fitScale(this.#image, this.turn, this.#canvas) : 1;
  }

  #fitCanvas() {
    const box = this.#canvas.getBoundingClientRect();
    this.#canvas.width = Math.max(1, Math.round(box.width * pixelRatio()));
    this.#canvas.height = Math.max(1, Math.round(box.height * pixelRatio()));
    this.draw();
  }

  #paint() {
    const context = this.#context;
    const image = this.#image;
    context.setTransform(1, 0, 0, 1, 0, 0);
    context.fillStyle = BACKGROUND;
    context.fillRect(0, 0, this.#canvas.width, this.#canvas.height);
    if (!image) return;
    this.paintImage(context, this.matrix);
    for (const overlay of this.overlays) overlay(context, this);
    if (image.width < image.originalWidth && image.originalWidth * this.scale > image.width) {
      this.dispatchEvent(new Event("detail"));
    }
  }

  #paintMap(context, scale) {
    const { originalWidth, originalHeight } = this.#image;
    const edge = (share, i) => share * (i % 2 ? originalHeight : originalWidth);
    const [left, top, right, bottom] = this.#frame.map(edge);
    context.save();
    context.imageSmoothingEnabled = true;
    context.globalAlpha = this.opacity;
    context.drawImage(this.#maps[this.label].canvas, left, top, right - left, bottom - top);
    context.globalAlpha = 0.5;
    context.strokeStyle = "#9fd3e6";
    context.lineWidth = pixelRatio() / scale;
    context.setLineDash([6 / scale, 6 / scale]);
    context.strokeRect(left, top, right - left, bottom - top);
    context.restore();
  }

  #windowedImage() {
    const image = this.#image;
    const settings = `${this.window.width} ${this.window.level} ${this.inverted}`;
    if (this.#windowedFor === settings) return this.#windowed;
    if (this.#windowed?.width !== image.width || this.#windowed?.height !== image.height) {
      this.#windowed = new OffscreenCanvas(image.width, image.height);
    }
    const table = grays(this.window, this.inverted);
    const data = new ImageData(image.width, image.height);
    const colours = new Uint32Array(data.data.buffer);
    const { pixels } = image;
    for (let i = 0; i < pixels.length; i += 1) colours[i] = table[pixels[i]];
    this.#windowed.getContext("2d").putImageData(data, 0, 0);
    this.#windowedFor = settings;
    return this.#windowed;
  }
}

// A table: gray level -> opaque gray as one 32-bit number.
export function grays({ width, level }, inverted) {
  return Uint32Array.from({ length: 256 }, (_, gray) => {
    const share = Math.min(1, Math.max(0, (gray - level) / width + 0.5));
    const level8 = Math.round(255 * (inverted ? 1 - share : share));
    return (0xff000000 | (level8 << 16) | (level8 << 8) | level8) >>> 0;
  });
}
