// What professionals say of an answer. What is typed is kept with its film until it is saved.

import { disagreed, standing } from "./cases.js";
import { byId, element, save } from "./dom.js";

const NONE = ""; // none of the network's classes
const OPEN = "open"; // nothing is chosen yet, where there is no answer
const NAME = "covidnet-lite-reviewer"; // asked once a browser session
const FIELDS = ["verdict", "label", "comment", "patient", "settles"];

export class ReviewForm {
  #one = null;
  #form = byId("review-form");
  #blank = {}; // what stands in the form of this film before anything is typed

  constructor(api, cases, about) {
    Object.assign(this, { api, cases, about });
    this.#fields.reviewer.value = sessionStorage.getItem(NAME) ?? "";
    this.#form.addEventListener("submit", (event) => {
      event.preventDefault();
      this.send();
    });
    this.#form.addEventListener("input", (event) => {
      if (event.target.name === "reviewer") sessionStorage.setItem(NAME, event.target.value.trim());
      else this.#typed();
    });
    byId("manifest").addEventListener("click", () => this.#manifest());
    byId("no-review").hidden = about.reviews;
    byId("manifest").disabled = !about.keeps_pictures;
    byId("manifest-note").textContent = about.keeps_pictures
      ? "A table of the reviewed films that were kept, to train on."
      : "Pictures are not kept, so there is nothing to train on. Start it with --keep DIR to keep those you review.";
  }

  show(one) {
    const same = one === this.#one && one?.result === this.#result;
    this.#one = one;
    this.#result = one?.result;
    const able = this.about.reviews && Boolean(one?.result) && one.status !== "failed";
    byId("review").hidden = !able;
    if (!able) return;
    if (!same) {
      byId("review-state").textContent = "";
      this.#load(one);
    }
    this.#showEarlier();
    this.#fill();
  }

  mark(verdict) {
    if (byId("review").hidden || byId("verdicts").hidden) return;
    for (const radio of this.#fields.verdict) radio.checked = radio.value === verdict;
    this.#typed();
    if (verdict === "disagree") this.#fields.label.focus();
  }

  async send() {
    const one = this.#one;
    if (byId("review").hidden) return;
    const fields = this.#values();
    const reviewer = this.#fields.reviewer.value.trim();
    const missing = this.#missing(one, fields, reviewer);
    if (missing) {
      byId("review-state").textContent = missing;
      return;
    }
    one.draft = fields; // until it is saved, it is not
    byId("review-state").textContent = "Saving …";
    let told = "Saved.";
    try {
      const settles = fields.settles ? "yes" : "";
      const label = fields.label === OPEN ? NONE : fields.label;
      const review = await this.api.review(one, { ...fields, label, settles, reviewer });
      one.reviews = [...one.reviews.filter((other) => other.reviewer !== review.reviewer), review];
      if (equal(one.draft, fields)) one.draft = null;
    } catch (error) {
      told = `Not saved: ${error.message}`;
    }
    this.cases.tell("change");
    if (one !== this.#one) return;
    this.#showEarlier();
    if (!one.draft) this.#fill();
    byId("review-state").textContent = told;
  }

  #result = null;

  get #fields() {
    return this.#form.elements;
  }

  #missing(one, { verdict, label }, reviewer) {
    if (one.result.labels.length && !verdict) return "Say first whether you agree.";
    if (!one.result.labels.length && label === OPEN) return "Say first what you see.";
    if (reviewer) return "";
    this.#fields.reviewer.focus();
    return "Say first who you are.";
  }

  #typed() {
    this.#follow();
    const values = this.#values();
    const before = Boolean(this.#one.draft);
    this.#one.draft = equal(values, this.#blank) ? null : values;
    byId("review-state").textContent = this.#one.draft ? "Not saved yet." : "";
    if (before !== Boolean(this.#one.draft)) this.cases.tell("change");
  }

  #values() {
    const values = Object.fromEntries(FIELDS.map((name) => [name, this.#fields[name].value]));
    return { ...values, verdict: this.#fields.verdict.value, settles: this.#fields.settles.checked };
  }

  // The draft, or the last review under this name, or nothing.
  #fill() {
    const { result, reviews, draft } = this.#one;
    const answered = result.labels.length > 0;
    const name = this.#fields.reviewer.value.trim();
    const mine = reviews.find((review) => review.reviewer === name);
    const empty = { verdict: "", label: answered ? (result.label ?? NONE) : OPEN, comment: "", patient: "" };
    this.#blank = { ...pick(mine ?? empty, FIELDS), settles: mine?.settles === "yes" };
    const { verdict, settles, ...texts } = draft ?? this.#blank;
    byId("verdicts").hidden = !answered;
    byId("right-label-title").textContent = answered ? "What it is" : "What do you see?";
    const options = [...(answered ? [] : [[OPEN, "choose"]]), ...this.about.labels.map((label) => [label, label]), [NONE, "none of these"]];
    this.#fields.label.replaceChildren(...options.map(([value, text]) => element("option", { value, text })));
    for (const radio of this.#fields.verdict) radio.checked = radio.value === verdict;
    this.#fields.settles.checked = settles;
    for (const [field, value] of Object.entries(texts)) {
      if (this.#fields[field].value !== value) this.#fields[field].value = value; // else the caret would jump
    }
    this.#follow();
    if (!draft) this.#blank = this.#values();
  }

  // To agree with an answer is to call it right; with one of several labels, to say which, or to leave it open.
  #follow() {
    const { verdict, label } = this.#fields;
    const answers = this.#one?.result?.labels ?? [];
    const agreed = verdict.value === "agree" && answers.length > 0;
    if (agreed && answers.length === 1) label.value = answers[0];
    label.disabled = agreed && answers.length === 1;
    for (const option of label.options) {
      const said = answers.includes(option.value);
      option.disabled = option.value !== NONE && (agreed ? !said : verdict.value === "disagree" && said);
      if (option.value === NONE) option.text = agreed ? "left open" : "none of these";
    }
    if (label.selectedOptions[0]?.disabled) label.value = NONE;
  }

  // What others, or oneself, said of this image before.
  async #load(one) {
    try {
      const { reviews } = await this.api.reviews(one.result.image);
      if (reviews.length <= one.reviews.length) return;
      one.reviews = reviews;
    } catch (error) {
      if (one === this.#one) byId("review-state").textContent = `Earlier reviews cannot be shown: ${error.message}`;
      return;
    }
    this.cases.tell("change");
    if (one !== this.#one) return;
    this.#showEarlier();
    if (!one.draft) this.#fill();
  }

  #showEarlier() {
    const { reviews } = this.#one;
    const apart = disagreed(reviews);
    byId("earlier").replaceChildren(...reviews.map((review) => element("li", { text: told(review) })));
    byId("earlier").hidden = !reviews.length;
    byId("disagreement").hidden = !apart;
    byId("settling").hidden = !apart && !standing(reviews).some((review) => review.settles);
  }

  async #manifest() {
    try {
      const { export: counts } = await this.api.reviews();
      save("manifest.csv", "text/csv", await this.api.manifest());
      byId("manifest-note").textContent =
        `${counts.cases} films to train on; left out: ${counts.not_kept} without a kept picture, ` +
        `${counts.without_label} without a label, ${counts.disagreed} on which reviewers disagree.`;
    } catch (error) {
      byId("manifest-note").textContent = error.message;
    }
  }
}

const pick = (from, names) => Object.fromEntries(names.map((name) => [name, from[name] ?? ""]));

const equal = (a, b) => FIELDS.every((name) => a?.[name] === b?.[name]);

function told({ reviewer, at, verdict, label, comment, model, settles }) {
  const when = at.slice(0, 16).replace("T", " ");
  const what = [verdict && `${verdict}s`, label || "none of these", settles && "settles it"].filter(Boolean).join(", ");
  return `${reviewer || "Somebody"}, ${when} UTC, of ${model}: ${what}${comment ? ` — ${comment}` : ""}`;
}
