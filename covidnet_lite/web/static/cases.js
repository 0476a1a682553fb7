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

// Patient, identifier, date and accession number, as far as the header says; for the screen alone.
export const whose = ({ header }) => [header.patient, header.id, header.date, header.accession].filter(Boolean);

// The reviews that stand: of each reviewer the last, and none from before one that settles it. As web/review.py.
export function standing(reviews) {
  const since = reviews.map((review) => review.settles).lastIndexOf("yes");
  return reviews.slice(Math.max(0, since));
}

export const disagreed = (reviews) => new Set(standing(reviews).map((review) => review.label)).size > 1;

class Case {
  constructor(id, file, name) {
    Object.assign(this, {
      id,
      file,
      name,
      status: PENDING,
      result: null,
      header: {}, // of a DICOM file, read here
      reviews: [], // of this image, by all reviewers, in their order
      draft: null, // what is typed of a review and not saved
      thumbnail: null, // a canvas
      progress: 0, // of the upload, 0 to 1
      passing: false, // whether it failed by no fault of the film
      since: performance.now(), // when one began to wait for it, and by doing what
      act: "opened",
    });
  }

  get review() {
    return this.reviews.at(-1) ?? null;
  }
}

// Tells "change" when the list changed, "select" when another case is looked at, "progress" when an upload goes on,
// "thumbnail" when there is one more.
export class Cases extends EventTarget {
  #all = [];
  #next = 1;
  selected = null;
  sort = { key: null, descending: false };
  filter = { words: "", answer: "" };

  // known: what is known of the films already, as their header.
  add(files, known = {}) {
    const added = files.map((file) => Object.assign(new Case(this.#next++, file, nameOf(file)), known));
    this.#all.push(...added);
    this.tell("change");
    if (!this.selected && added.length) this.#look(added[0]);
    return added;
  }

  settle(one, result) {
    one.result = result;
    one.status = result.status;
    this.changed(one);
  }

  // Back to where it was before it failed.
  again(one) {
    Object.assign(one, { status: PENDING, result: null, progress: 0, passing: false, waited: "", since: performance.now(), act: "sent again" });
    this.changed(one);
  }

  changed(one) {
    this.tell("change");
    if (one === this.selected) this.tell("select");
  }

  clear() {
    this.#all = [];
    this.selected = null;
    this.filter = { words: "", answer: "" };
    this.tell("change");
    this.tell("select");
  }

  select(id) {
    const found = this.#all.find((one) => one.id === id);
    if (!found || found === this.selected) return;
    Object.assign(found, { since: performance.now(), act: "chosen" });
    this.#look(found);
  }

  step(by) {
    const shown = this.shown();
    const at = shown.indexOf(this.selected);
    const next = at < 0 ? shown[0] : shown[Math.min(shown.length - 1, Math.max(0, at + by))];
    if (next) this.select(next.id);
  }

  has(one) {
    return this.#all.includes(one);
  }

  // A first click sorts, a second turns the order round, a third goes back to the order of arrival.
  sortBy(key) {
    if (this.sort.key !== key) this.sort = { key, descending: key === "confidence" };
    else if (this.sort.descending === (key === "confidence")) this.sort = { key, descending: !this.sort.descending };
    else this.sort = { key: null, descending: false };
    this.tell("change");
  }

  filterBy(change) {
    Object.assign(this.filter, change);
    this.tell("change");
  }

  sorted() {
    const { key, descending } = this.sort;
    if (!key) return [...this.#all];
    const order = (a, b) => (a < b ? -1 : a > b ? 1 : 0);
    const sorted = [...this.#all].sort((a, b) => order(BY[key](a), BY[key](b)) || a.id - b.id);
    return descending ? sorted.reverse() : sorted;
  }

  // Sorted, and only what the filter lets through.
  shown() {
    const { words, answer } = this.filter;
    const sought = words.toLowerCase().split(/\s+/).filter(Boolean);
    const fits = (one) => {
      const text = [one.name, answerWord(one), ...whose(one)].join(" ").toLowerCase();
      return (!answer || answerWord(one) === answer) && sought.every((word) => text.includes(word));
    };
    return this.sorted().filter(fits);
  }

  get count() {
    return this.#all.length;
  }

  get pending() {
    return this.#all.filter((one) => one.status === PENDING).length;
  }

  get drafts() {
    return this.#all.filter((one) => one.draft).length;
  }

  get lost() {
    return this.#all.filter((one) => one.passing);
  }

  tell(what) {
    this.dispatchEvent(new Event(what));
  }

  #look(one) {
    this.selected = one;
    this.tell("change");
    this.tell("select");
  }
}

// With the folders it came from, where there are any.
const nameOf = (file) => file.webkitRelativePath || file.name || "pasted.png";
