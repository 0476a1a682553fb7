// A line that the user drags over the radiograph, with its length.

import { pixelRatio } from "./dom.js";
import { distance } from "./geometry.js";

const COLOUR = "#ffd27a";

export class Ruler {
  active = false;
  header = {};
  #line = null; // {from, to}, in image pixels

  constructor(viewer) {
    this.viewer = viewer;
    viewer.overlays.push((context) => this.#paint(context));
  }

  toggle() {
    this.active = !this.active;
    if (!this.active) this.clear();
    return this.active;
  }

  clear() {
    this.#line = null;
    this.viewer.draw();
  }

  begin(point) {
    const from = this.viewer.toImage(point);
    this.#line = { from, to: from };
  }

  drag(point) {
    if (this.#line) this.#line.to = this.viewer.toImage(point);
    this.viewer.draw();
  }

  #paint(context) {
    if (!this.#line) return;
    const { matrix } = this.viewer;
    const [from, to] = [this.#line.from, this.#line.to].map((point) => matrix.transformPoint(point));
    context.strokeStyle = context.fillStyle = COLOUR;
    context.lineWidth = 2 * pixelRatio();
    context.beginPath();
    context.moveTo(from.x, from.y);
    context.lineTo(to.x, to.y);
    context.stroke();
    context.font = `${14 * pixelRatio()}px system-ui, sans-serif`;
    context.shadowColor = "#000";
    context.shadowBlur = 4 * pixelRatio();
    context.fillText(distance(this.#line.from, this.#line.to, this.header), to.x + 8 * pixelRatio(), to.y - 8 * pixelRatio());
    context.shadowBlur = 0;
  }
}
