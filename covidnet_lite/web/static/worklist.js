// The work list: the radiographs that were opened, their results, and which one is selected. In memory only.

export const PENDING = "pending";

const SORT_KEYS = {
  name: (entry) => entry.name.toLowerCase(),
  answer: (entry) => answerWord(entry),
  confidence: (entry) => confidence(entry) ?? -1,
  review: (entry) => entry.review?.verdict ?? "",
};

export function answerWord({ status, result }) {
  if (status === "narrowed") return `not ${excludedLabel(result)}`;
  return result?.label ?? status;
}

// The label that an answer of several labels rules out.
export function excludedLabel({ labels, probabilities }) {
  return Object.keys(probabilities).find((label) => !labels.includes(label));
}

// The probability of the answer; null for an abstention, where a number would be read as a finding.
export function confidence({ result }) {
  const { labels = [], probabilities } = result ?? {};
  return labels.length ? labels.reduce((sum, label) => sum + probabilities[label], 0) : null;
}

// Patient, identifier, date and accession number where the header has them; for the screen only.
export const identity = ({ header }) => [header.patient, header.id, header.date, header.accession].filter(Boolean);

// The reviews that count: none from before one that settles the label. As in web/review.py.
export function currentReviews(reviews) {
  const settled = reviews.map((review) => review.settles).lastIndexOf("yes");
  return reviews.slice(Math.max(0, settled));
}

export const disagree = (reviews) => new Set(currentReviews(reviews).map((review) => review.label)).size > 1;

class Entry {
  constructor(id, file) {
    Object.assign(this, {
      id,
      file,
      name: nameOf(file),
      status: PENDING,
      result: null,
      header: {}, // of a DICOM file, read in the browser
      reviews: [], // of this image, by all reviewers, in order of time
      draft: null, // a review that is typed but not saved
      thumbnail: null, // a canvas
      progress: 0, // of the upload, 0 to 1
      retryable: false, // whether the connection or the server caused the failure
      startedAt: performance.now(), // when the user began to wait for the radiograph, and by what action
      startedBy: "opened",
    });
  }

  get review() {
    return this.reviews.at(-1) ?? null;
  }
}

// Events: "change" (the list or an entry), "select" (another entry, or the selected one has changed), "progress" (of an
// upload), "thumbnail" (one was loaded).
export class Worklist extends EventTarget {
  #entries = [];
  #nextId = 1;
  selected = null;
  sort = { key: null, descending: false };
  filter = { words: "", answer: "" };

  // fields: of the entries, where something is known before the upload, such as the header.
  add(files, fields = {}) {
    const added = files.map((file) => Object.assign(new Entry(this.#nextId++, file), fields));
    this.#entries.push(...added);
    this.notify("change");
    if (!this.selected && added.length) this.#setSelected(added[0]);
    return added;
  }

  finish(entry, result) {
    Object.assign(entry, { result, status: result.status });
    this.changed(entry);
  }

  // Makes a failed entry pending again.
  restart(entry) {
    const fresh = { status: PENDING, result: null, progress: 0, retryable: false, displayTime: "" };
    Object.assign(entry, fresh, { startedAt: performance.now(), startedBy: "sent again" });
    this.changed(entry);
  }

  changed(entry) {
    this.notify("change");
    if (entry === this.selected) this.notify("select");
  }

  clear() {
    this.#entries = [];
    this.selected = null;
    this.filter = { words: "", answer: "" };
    this.notify("change");
    this.notify("select");
  }

  select(id) {
    const entry = this.#entries.find((other) => other.id === id);
    if (!entry || entry === this.selected) return;
    Object.assign(entry, { startedAt: performance.now(), startedBy: "chosen" });
    this.#setSelected(entry);
  }

  step(by) {
    const visible = this.visible();
    const at = visible.indexOf(this.selected);
    const next = at < 0 ? visible[0] : visible[Math.min(visible.length - 1, Math.max(0, at + by))];
    if (next) this.select(next.id);
  }

  has(entry) {
    return this.#entries.includes(entry);
  }

  // The first call sorts by a key, the second reverses the order, the third restores the order of arrival.
  sortBy(key) {
    const first = key === "confidence"; // the highest probability comes first
    if (this.sort.key !== key) this.sort = { key, descending: first };
    else if (this.sort.descending === first) this.sort = { key, descending: !first };
    else this.sort = { key: null, descending: false };
    this.notify("change");
  }

  filterBy(change) {
    Object.assign(this.filter, change);
    this.notify("change");
  }

  sorted() {
    const { key, descending } = this.sort;
    if (!key) return [...this.#entries];
    const order = (a, b) => (a < b ? -1 : a > b ? 1 : 0);
    const sorted = [...this.#entries].sort((a, b) => order(SORT_KEYS[key](a), SORT_KEYS[key](b)) || a.id - b.id);
    return descending ? sorted.reverse() : sorted;
  }

  // Sorted and filtered.
  visible() {
    const { words, answer } = this.filter;
    const sought = words.toLowerCase().split(/\s+/).filter(Boolean);
    const matches = (entry) => {
      const text = [entry.name, answerWord(entry), ...identity(entry)].join(" ").toLowerCase();
      return (!answer || answerWord(entry) === answer) && sought.every((word) => text.includes(word));
    };
    return this.sorted().filter(matches);
  }

  get count() {
    return this.#entries.length;
  }

  get pending() {
    return this.#entries.filter((entry) => entry.status === PENDING).length;
  }

  get drafts() {
    return this.#entries.filter((entry) => entry.draft).length;
  }

  get retryable() {
    return this.#entries.filter((entry) => entry.retryable);
  }

  notify(event) {
    this.dispatchEvent(new Event(event));
  }

  #setSelected(entry) {
    this.selected = entry;
    this.notify("change");
    this.notify("select");
  }
}

// With its folders, where the browser names them.
const nameOf = (file) => file.webkitRelativePath || file.name || "pasted.png";
