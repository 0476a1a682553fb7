// Thumbnails for the work list, requested one by one when no upload is pending.

const SIDE = 96; // pixels

export class Thumbnails {
  #loading = false;
  #requested = new Set(); // entries; each is requested once

  constructor(api, worklist) {
    Object.assign(this, { api, worklist });
    worklist.addEventListener("change", () => this.#next());
  }

  async #next() {
    if (this.#loading || this.worklist.pending) return;
    const lacks = (entry) => !entry.thumbnail && !this.#requested.has(entry) && entry.result?.image && entry.status !== "failed";
    const entry = this.worklist.visible().find(lacks);
    if (!entry) return;
    this.#loading = true;
    this.#requested.add(entry);
    try {
      entry.thumbnail = paint(await this.api.thumbnail(entry.result.image, SIDE));
    } catch {
      // The row stays without a thumbnail.
    }
    this.#loading = false;
    this.worklist.notify("thumbnail");
    this.#next();
  }
}

function paint({ width, height, pixels }) {
  const canvas = Object.assign(document.createElement("canvas"), { width, height, className: "thumbnail" });
  canvas.setAttribute("aria-hidden", "true");
  const data = new ImageData(width, height);
  pixels.forEach((gray, i) => data.data.set([gray, gray, gray, 255], 4 * i));
  canvas.getContext("2d").putImageData(data, 0, 0);
  return canvas;
}
