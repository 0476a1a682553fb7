// Uploads, a few at a time; the selected radiograph goes first.

const AT_ONCE = 3; // the server has few cores

export class Queue {
  #waiting = [];
  #running = 0;

  constructor(api, worklist) {
    Object.assign(this, { api, worklist });
  }

  add(entries) {
    this.#waiting.push(...entries);
    this.#start();
  }

  retry(entries) {
    for (const entry of entries) this.worklist.restart(entry);
    this.add(entries);
  }

  clear() {
    this.#waiting = [];
  }

  #start() {
    while (this.#running < AT_ONCE && this.#waiting.length) {
      const at = Math.max(0, this.#waiting.indexOf(this.worklist.selected));
      const [entry] = this.#waiting.splice(at, 1);
      this.#running += 1;
      this.#classify(entry).finally(() => {
        this.#running -= 1;
        this.#start();
      });
    }
  }

  async #classify(entry) {
    let result;
    try {
      result = await this.api.classify(entry.file, (share) => {
        entry.progress = share;
        this.worklist.notify("progress");
      });
    } catch (error) {
      entry.retryable = Boolean(error.retryable);
      result = { name: entry.name, status: "failed", label: null, labels: [], reason: error.message, probabilities: {} };
    }
    if (this.worklist.has(entry)) this.worklist.finish(entry, result);
  }
}
