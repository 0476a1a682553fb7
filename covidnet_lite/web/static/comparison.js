// A second radiograph beside the first: a prior of the same patient, or any other of the work list.

import { byId, element } from "./dom.js";
import { watchGestures } from "./gestures.js";
import { drawSides } from "./toolbar.js";
import { Viewer } from "./viewer.js";
import { identity } from "./worklist.js";

export class Comparison {
  #entry = null;
  #viewer = new Viewer(byId("compared-canvas"));

  constructor(worklist, images) {
    Object.assign(this, { worklist, images });
    watchGestures(byId("compared-canvas"), this.#viewer);
    this.#viewer.overlays.push((context, viewer) => drawSides(context.canvas, this.#entry?.header ?? {}, viewer));
    byId("compared").addEventListener("change", (event) => this.#choose(Number(event.target.value)));
    for (const event of ["change", "select"]) worklist.addEventListener(event, () => this.#renderOptions());
    this.#renderOptions();
  }

  // The other radiographs, those of the same patient first.
  #renderOptions() {
    const { selected } = this.worklist;
    if (this.#entry && !this.worklist.has(this.#entry)) this.#choose(0);
    const samePatient = ({ header }) => Boolean(header.id) && header.id === selected?.header.id;
    const others = this.worklist.sorted().filter((entry) => entry !== selected && entry.status !== "failed");
    const sorted = [...others.filter(samePatient), ...others.filter((entry) => !samePatient(entry))];
    const option = (entry) => {
      const words = [samePatient(entry) && "same patient:", entry.header.date, entry.name];
      return element("option", { value: String(entry.id), text: words.filter(Boolean).join(" ") });
    };
    byId("compared").replaceChildren(element("option", { value: "0", text: "none" }), ...sorted.map(option));
    if (this.#entry && this.#entry === selected) byId("compared").append(option(this.#entry));
    byId("compared").value = String(this.#entry?.id ?? 0);
    byId("compare").hidden = !others.length && !this.#entry;
  }

  async #choose(id) {
    const entry = this.worklist.sorted().find((other) => other.id === id) ?? null;
    this.#entry = entry;
    byId("stage").dataset.split = String(Boolean(entry));
    byId("corner-compared").textContent = entry ? [entry.name, ...identity(entry)].join("\n") : "";
    byId("compared-canvas").setAttribute("aria-label", entry ? `Compared radiograph ${entry.name}` : "");
    this.#viewer.show(null);
    if (!entry) return;
    try {
      const image = await this.images.of(entry);
      if (entry === this.#entry) this.#viewer.show(image);
    } catch (error) {
      if (entry === this.#entry) byId("corner-compared").textContent = `The image cannot be shown: ${error.message}`;
    }
  }
}
