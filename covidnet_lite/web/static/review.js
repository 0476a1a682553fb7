// Reviews of answers. What is typed stays with its radiograph until it is saved.

import { byId, download, element, setOptions } from "./dom.js";
import { currentReviews, disagree } from "./worklist.js";

const NONE = ""; // none of the network's classes
const UNDECIDED = "undecided"; // under an abstention, until the reviewer chooses a label
const NAME_KEY = "covidnet-lite-reviewer";
const FIELDS = ["verdict", "label", "comment", "patient", "settles"];

export class ReviewForm {
  #entry = null;
  #result = null;
  #form = byId("review-form");
  #initial = {}; // the values of the form before the reviewer types

  constructor(api, worklist, about) {
    Object.assign(this, { api, worklist, about });
    this.#fields.reviewer.value = sessionStorage.getItem(NAME_KEY) ?? "";
    this.#form.addEventListener("submit", (event) => {
      event.preventDefault();
      this.send();
    });
    this.#form.addEventListener("input", (event) => {
      if (event.target.name === "reviewer") sessionStorage.setItem(NAME_KEY, event.target.value.trim());
      else this.#updateDraft();
    });
    byId("manifest").addEventListener("click", () => this.#saveManifest());
    byId("no-reviews").hidden = about.reviews;
    byId("manifest").disabled = !about.keeps_pictures;
    byId("manifest-note").textContent = about.keeps_pictures
      ? "A table of the reviewed radiographs whose images are stored, for training."
      : "This server does not store images, so there is nothing to train with. To store the images that you review, start it with --keep DIR.";
  }

  show(entry) {
    const same = entry === this.#entry && entry?.result === this.#result;
    this.#entry = entry;
    this.#result = entry?.result;
    const reviewable = this.about.reviews && Boolean(entry?.result) && entry.status !== "failed";
    byId("review").hidden = !reviewable;
    if (!reviewable) return;
    if (!same) {
      this.#showState("");
      this.#loadReviews(entry);
    }
    this.#showReviews();
    this.#fill();
  }

  setVerdict(verdict) {
    if (byId("review").hidden || byId("verdicts").hidden) return;
    for (const radio of this.#fields.verdict) radio.checked = radio.value === verdict;
    this.#updateDraft();
    if (verdict === "disagree") this.#fields.label.focus();
  }

  async send() {
    const entry = this.#entry;
    if (byId("review").hidden) return;
    const values = this.#values();
    const reviewer = this.#fields.reviewer.value.trim();
    const problem = this.#problem(entry, values, reviewer);
    if (problem) {
      this.#showState(problem);
      return;
    }
    entry.draft = values; // a draft until the server has stored it
    this.#showState("Saving …");
    let state = "Saved.";
    try {
      const settles = values.settles ? "yes" : "";
      const label = values.label === UNDECIDED ? NONE : values.label;
      const review = await this.api.review(entry, { ...values, label, settles, reviewer });
      entry.reviews = [...entry.reviews.filter((other) => other.reviewer !== review.reviewer), review];
      if (equal(entry.draft, values)) entry.draft = null;
    } catch (error) {
      state = `Not saved: ${error.message}`;
    }
    this.worklist.notify("change");
    if (entry !== this.#entry) return;
    this.#showReviews();
    if (!entry.draft) this.#fill();
    this.#showState(state);
  }

  get #fields() {
    return this.#form.elements;
  }

  #showState(text) {
    byId("review-state").textContent = text;
  }

  #problem({ result }, { verdict, label }, reviewer) {
    if (result.labels.length && !verdict) return "First choose whether you agree.";
    if (!result.labels.length && label === UNDECIDED) return "First choose what you see.";
    if (reviewer) return "";
    this.#fields.reviewer.focus();
    return "First enter your name.";
  }

  #updateDraft() {
    this.#limitLabels();
    const values = this.#values();
    const before = Boolean(this.#entry.draft);
    this.#entry.draft = equal(values, this.#initial) ? null : values;
    this.#showState(this.#entry.draft ? "Not saved yet." : "");
    if (before !== Boolean(this.#entry.draft)) this.worklist.notify("change");
  }

  #values() {
    const values = Object.fromEntries(FIELDS.map((name) => [name, this.#fields[name].value]));
    return { ...values, verdict: this.#fields.verdict.value, settles: this.#fields.settles.checked };
  }

  // Fills the form with the draft, or with the last review by this reviewer, or leaves it empty.
  #fill() {
    const { result, reviews, draft } = this.#entry;
    const answered = result.labels.length > 0;
    const reviewer = this.#fields.reviewer.value.trim();
    const own = reviews.find((review) => review.reviewer === reviewer);
    const empty = { verdict: "", label: answered ? (result.label ?? NONE) : UNDECIDED, comment: "", patient: "" };
    this.#initial = { ...pick(own ?? empty, FIELDS), settles: own?.settles === "yes" };
    const { verdict, settles, ...texts } = draft ?? this.#initial;
    byId("verdicts").hidden = !answered;
    byId("label-title").textContent = answered ? "What the radiograph shows" : "What do you see?";
    setOptions(this.#fields.label, [
      ...(answered ? [] : [[UNDECIDED, "choose"]]), ...this.about.labels.map((label) => [label, label]), [NONE, "none of these"],
    ]);
    for (const radio of this.#fields.verdict) radio.checked = radio.value === verdict;
    this.#fields.settles.checked = settles;
    for (const [name, value] of Object.entries(texts)) {
      if (this.#fields[name].value !== value) this.#fields[name].value = value; // setting an equal text would move the caret
    }
    this.#limitLabels();
    if (!draft) this.#initial = this.#values();
  }

  // Who agrees with an answer of one label chooses that label; with one of several labels, one of them or none.
  #limitLabels() {
    const { verdict, label } = this.#fields;
    const answers = this.#entry?.result?.labels ?? [];
    const agrees = verdict.value === "agree" && answers.length > 0;
    if (agrees && answers.length === 1) label.value = answers[0];
    label.disabled = agrees && answers.length === 1;
    for (const option of label.options) {
      const answered = answers.includes(option.value);
      option.disabled = option.value !== NONE && (agrees ? !answered : verdict.value === "disagree" && answered);
      if (option.value === NONE) option.text = agrees ? "left open" : "none of these";
    }
    if (label.selectedOptions[0]?.disabled) label.value = NONE;
  }

  // Earlier reviews of this image, by any reviewer.
  async #loadReviews(entry) {
    try {
      const { reviews } = await this.api.reviews(entry.result.image);
      if (reviews.length <= entry.reviews.length) return;
      entry.reviews = reviews;
    } catch (error) {
      if (entry === this.#entry) this.#showState(`Earlier reviews cannot be shown: ${error.message}`);
      return;
    }
    this.worklist.notify("change");
    if (entry !== this.#entry) return;
    this.#showReviews();
    if (!entry.draft) this.#fill();
  }

  #showReviews() {
    const { reviews } = this.#entry;
    const disputed = disagree(reviews);
    byId("earlier-reviews").replaceChildren(...reviews.map((review) => element("li", { text: summary(review) })));
    byId("earlier-reviews").hidden = !reviews.length;
    byId("disagreement").hidden = !disputed;
    byId("settle").hidden = !disputed && !currentReviews(reviews).some((review) => review.settles);
  }

  async #saveManifest() {
    try {
      const { export: counts } = await this.api.reviews();
      download("manifest.csv", "text/csv", await this.api.manifest());
      byId("manifest-note").textContent =
        `Saved ${counts.cases} radiographs for training. Left out: ${counts.not_kept} without a stored image, ` +
        `${counts.without_label} without a label, ${counts.disagreed} with disagreeing reviewers.`;
    } catch (error) {
      byId("manifest-note").textContent = error.message;
    }
  }
}

const pick = (record, names) => Object.fromEntries(names.map((name) => [name, record[name] ?? ""]));

const equal = (a, b) => FIELDS.every((name) => a?.[name] === b?.[name]);

function summary({ reviewer, at, verdict, label, comment, model, settles }) {
  const time = at.slice(0, 16).replace("T", " ");
  const opinion = [verdict && `${verdict}s`, label || (verdict === "agree" ? "label left open" : "none of these"), settles && "settles the label"].filter(Boolean).join(", ");
  return `${reviewer || "Unnamed reviewer"}, ${time} UTC, network ${model}: ${opinion}${comment ? ` — ${comment}` : ""}`;
}
