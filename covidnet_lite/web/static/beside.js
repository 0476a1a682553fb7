// A second film beside the first: a prior of the same patient, or any other of the work list.

import { whose } from "./cases.js";
import { byId, element } from "./dom.js";
import { watchGestures } from "./gestures.js";
import { Viewer } from "./viewer.js";

export class Beside {
  #one = null;
  #viewer = new Viewer(byId("other"));

  constructor(cases, pictures) {
    Object.assign(this, { cases, pictures });
    watchGestures(byId("other"), this.#viewer);
    byId("beside").addEventListener("change", (event) => this.#choose(Number(event.target.value)));
    for (const event of ["change", "select"]) cases.addEventListener(event, () => this.#offer());
    this.#offer();
  }

  // The other films, those of the same patient first.
  #offer() {
    const { selected } = this.cases;
    if (this.#one && !this.cases.has(this.#one)) this.#choose(0);
    const same = (one) => Boolean(one.header.id) && one.header.id === selected?.header.id;
    const others = this.cases.sorted().filter((one) => one !== selected && one.status !== "failed");
    const sorted = [...others.filter(same), ...others.filter((one) => !same(one))];
    const option = (one) => element("option", { value: String(one.id), text: `${same(one) ? "same patient: " : ""}${one.header.date ?? ""} ${one.name}`.trim() });
    const now = String(this.#one?.id ?? 0);
    byId("beside").replaceChildren(element("option", { value: "0", text: "none" }), ...sorted.map(option));
    if (this.#one && this.#one === selected) byId("beside").append(option(this.#one));
    byId("beside").value = now;
    byId("beside-choice").hidden = !others.length && !this.#one;
  }

  async #choose(id) {
    const one = this.cases.sorted().find((other) => other.id === id) ?? null;
    this.#one = one;
    byId("stage").dataset.split = String(Boolean(one));
    byId("corner-other").textContent = one ? [one.name, ...whose(one)].join("\n") : "";
    byId("other").setAttribute("aria-label", one ? `Beside it: radiograph ${one.name}` : "");
    this.#viewer.show(null);
    if (!one) return;
    try {
      const film = await this.pictures.of(one);
      if (one === this.#one) this.#viewer.show(film);
    } catch (error) {
      if (one === this.#one) byId("corner-other").textContent = `No picture: ${error.message}`;
    }
  }
}
