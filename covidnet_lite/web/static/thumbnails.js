// Small pictures for the work list, fetched one by one when nothing else is on its way.

const SIDE = 96; // pixels

export class Thumbnails {
  #busy = false;
  #tried = new Set(); // cases whose picture could not be had

  constructor(api, cases) {
    this.api = api;
    this.cases = cases;
    cases.addEventListener("change", () => this.#next());
  }

  async #next() {
    if (this.#busy || this.cases.pending) return;
    const wanted = (one) => !one.thumbnail && !this.#tried.has(one) && one.result?.image && one.status !== "failed";
    const one = this.cases.shown().find(wanted);
    if (!one) return;
    this.#busy = true;
    this.#tried.add(one);
    try {
      one.thumbnail = drawn(await this.api.thumbnail(one.result.image, SIDE));
    } catch {
      // It does without.
    }
    this.#busy = false;
    this.cases.tell("thumbnail");
    this.#next();
  }
}

function drawn({ width, height, pixels }) {
  const canvas = Object.assign(document.createElement("canvas"), { width, height, className: "thumbnail" });
  canvas.setAttribute("aria-hidden", "true");
  const image = new ImageData(width, height);
  pixels.forEach((gray, i) => image.data.set([gray, gray, gray, 255], 4 * i));
  canvas.getContext("2d").putImageData(image, 0, 0);
  return canvas;
}
