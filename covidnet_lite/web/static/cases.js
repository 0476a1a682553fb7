// The work list's cases: what was opened, what came of it, which one is looked at. In memory only.

export const PENDING = "pending";

const BY = {
  name: (one) => one.name.toLowerCase(),
  answer: (one) => answerWord(one),
  confidence: (one) => confidence(one) ?? -1,
  review: (one) => one.review?.verdict ?? "",
};

export function answerWord(one) {
  if (one.status === "narrowed") return `not ${negativeOf(one.result)}`;
  return one.result?.label ?? one.status;
}

// Of an answer of several labels: the one that is ruled out.
export function negativeOf(result) {
  return Object.keys(result.probabilities).find((label) => !result.labels.includes(label));
}

// How probable the answer is; of an abstention nothing, which would be read as a finding.
export function confidence(one) {
  const { labels = [], probabilities } = one.result ?? {};
  return labels.length ? labels.reduce((sum, label) => sum + probabilities[label], 0) : null;
}

// Tells "change" when the list changed, "select" when another case is looked at.
export class Cases extends EventTarget {
  #all = [];
  #next = 1;
  selected = null;
  sort = { key: null, descending: false };

  add(files) {
    const added = files.map((file) => ({
      id: this.#next++,
      file,
      name: file.name || "pasted.png",
      status: PENDING,
      result: null,
      review: null,
      since: performance.now(), // when one began to wait for it, and by doing what
      act: "opened",
    }));
    this.#all.push(...added);
    this.#tell("change");
    if (!this.selected && added.length) this.#look(added[0]);
    return added;
  }

  settle(one, result) {
    one.result = result;
    one.status = result.status;
    this.#tell("change");
    if (one === this.selected) this.#tell("select");
  }

  reviewed(one, review) {
    one.review = review;
    this.#tell("change");
  }

  clear() {
    this.#all = [];
    this.selected = null;
    this.#tell("change");
    this.#tell("select");
  }

  select(id) {
    const found = this.#all.find((one) => one.id === id);
    if (!found || found === this.selected) return;
    Object.assign(found, { since: performance.now(), act: "chosen" });
    this.#look(found);
  }

  step(by) {
    const shown = this.sorted();
    const at = shown.indexOf(this.selected);
    const next = shown[Math.min(shown.length - 1, Math.max(0, at + by))];
    if (next) this.select(next.id);
  }

  after(one) {
    const shown = this.sorted();
    return shown[shown.indexOf(one) + 1] ?? null;
  }

  has(one) {
    return this.#all.includes(one);
  }

  // A first click sorts, a second turns the order round, a third goes back to the order of arrival.
  sortBy(key) {
    if (this.sort.key !== key) this.sort = { key, descending: key === "confidence" };
    else if (this.sort.descending === (key === "confidence")) this.sort = { key, descending: !this.sort.descending };
    else this.sort = { key: null, descending: false };
    this.#tell("change");
  }

  sorted() {
    const { key, descending } = this.sort;
    if (!key) return [...this.#all];
    const order = (a, b) => (a < b ? -1 : a > b ? 1 : 0);
    const sorted = [...this.#all].sort((a, b) => order(BY[key](a), BY[key](b)) || a.id - b.id);
    return descending ? sorted.reverse() : sorted;
  }

  get count() {
    return this.#all.length;
  }

  get pending() {
    return this.#all.filter((one) => one.status === PENDING).length;
  }

  #look(one) {
    this.selected = one;
    this.#tell("change");
    this.#tell("select");
  }

  #tell(what) {
    this.dispatchEvent(new Event(what));
  }
}
