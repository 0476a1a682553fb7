// A round part of the radiograph, enlarged, under the pointer.

import { pixelRatio } from "./dom.js";

const RADIUS = 90; // CSS pixels
const FACTOR = 2.5;
const COLOUR = "#ffd27a";

export class Magnifier {
  active = false;
  #pointer = null;

  constructor(viewer) {
    this.viewer = viewer;
    viewer.overlays.push((context) => this.#paint(context));
  }

  toggle() {
    this.active = !this.active;
    if (!this.active) this.#pointer = null;
    this.viewer.draw();
    return this.active;
  }

  move(point) {
    this.#pointer = point;
    if (this.active) this.viewer.draw();
  }

  #paint(context) {
    if (!this.active || !this.#pointer) return;
    const { x, y } = this.#pointer;
    const enlarged = new DOMMatrix().translate(x, y).scale(FACTOR).translate(-x, -y).multiply(this.viewer.matrix);
    context.save();
    context.beginPath();
    context.arc(x, y, RADIUS * pixelRatio(), 0, 2 * Math.PI);
    context.fillStyle = "#000";
    context.fill();
    context.clip();
    this.viewer.paintImage(context, enlarged);
    context.restore();
    context.strokeStyle = COLOUR;
    context.lineWidth = 2 * pixelRatio();
    context.stroke();
  }
}
