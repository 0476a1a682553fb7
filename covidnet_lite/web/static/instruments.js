// What lies over the film while it is in use: a ruler and a magnifier.

import { distance } from "./geometry.js";

const RADIUS = 90; // CSS pixels of the magnifier
const FACTOR = 2.5;
const COLOUR = "#ffd27a";

const ratio = () => window.devicePixelRatio || 1;

// A line that is drawn by dragging, with its length.
export class Ruler {
  active = false;
  #line = null; // {from, to}, in pixels of the film
  header = {};

  constructor(viewer) {
    this.viewer = viewer;
    viewer.overlays.push((context) => this.#paint(context));
  }

  toggle(on = !this.active) {
    this.active = on;
    if (!on) this.clear();
    return on;
  }

  clear() {
    this.#line = null;
    this.viewer.draw();
  }

  begin(point) {
    const from = this.viewer.toFilm(point);
    this.#line = { from, to: from };
  }

  drag(point) {
    if (this.#line) this.#line.to = this.viewer.toFilm(point);
    this.viewer.draw();
  }

  get length() {
    return this.#line ? distance(this.#line.from, this.#line.to, this.header) : "";
  }

  #paint(context) {
    if (!this.#line) return;
    const { matrix } = this.viewer;
    const [from, to] = [this.#line.from, this.#line.to].map((point) => matrix.transformPoint(point));
    context.strokeStyle = context.fillStyle = COLOUR;
    context.lineWidth = 2 * ratio();
    context.beginPath();
    context.moveTo(from.x, from.y);
    context.lineTo(to.x, to.y);
    context.stroke();
    context.font = `${14 * ratio()}px system-ui, sans-serif`;
    context.shadowColor = "#000";
    context.shadowBlur = 4 * ratio();
    context.fillText(this.length, to.x + 8 * ratio(), to.y - 8 * ratio());
    context.shadowBlur = 0;
  }
}

// A round part of the film, enlarged, where the pointer is.
export class Magnifier {
  active = false;
  #at = null;

  constructor(viewer) {
    this.viewer = viewer;
    viewer.overlays.push((context) => this.#paint(context));
  }

  toggle(on = !this.active) {
    this.active = on;
    if (!on) this.#at = null;
    this.viewer.draw();
    return on;
  }

  move(point) {
    this.#at = point;
    if (this.active) this.viewer.draw();
  }

  #paint(context) {
    if (!this.active || !this.#at) return;
    const { x, y } = this.#at;
    const larger = new DOMMatrix().translate(x, y).scale(FACTOR).translate(-x, -y).multiply(this.viewer.matrix);
    context.save();
    context.beginPath();
    context.arc(x, y, RADIUS * ratio(), 0, 2 * Math.PI);
    context.fillStyle = "#000";
    context.fill();
    context.clip();
    this.viewer.paintFilm(context, larger);
    context.restore();
    context.strokeStyle = COLOUR;
    context.lineWidth = 2 * ratio();
    context.stroke();
  }
}
