// Films on their way to the server, a few at a time; what is looked at comes first.

const AT_ONCE = 3; // requests; the server has few cores

export class Queue {
  #waiting = [];
  #working = 0;

  constructor(api, cases) {
    this.api = api;
    this.cases = cases;
  }

  add(films) {
    this.#waiting.push(...films);
    this.#work();
  }

  // What failed by no fault of its own is sent again.
  retry(films) {
    for (const one of films) this.cases.again(one);
    this.add(films);
  }

  clear() {
    this.#waiting = [];
  }

  #work() {
    while (this.#working < AT_ONCE && this.#waiting.length) {
      const at = Math.max(0, this.#waiting.indexOf(this.cases.selected));
      const [one] = this.#waiting.splice(at, 1);
      this.#working += 1;
      this.#classify(one).finally(() => {
        this.#working -= 1;
        this.#work();
      });
    }
  }

  async #classify(one) {
    let result;
    try {
      result = await this.api.classify(one.file, (share) => {
        one.progress = share;
        this.cases.tell("progress");
      });
    } catch (error) {
      one.passing = Boolean(error.passing);
      result = { name: one.name, status: "failed", label: null, labels: [], reason: error.message, probabilities: {} };
    }
    if (this.cases.has(one)) this.cases.settle(one, result);
  }
}
