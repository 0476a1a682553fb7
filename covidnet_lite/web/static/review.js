// What a professional says of the answer; sent with the film, since the server keeps none.

import { byId, element, save } from "./dom.js";

const NONE = ""; // none of the network's classes

export class ReviewForm {
  #one = null;
  #form = byId("review-form");

  constructor(api, cases, about) {
    this.api = api;
    this.cases = cases;
    this.about = about;
    const labels = about.labels.map((label) => element("option", { value: label, text: label }));
    byId("right-label").replaceChildren(...labels, element("option", { value: NONE, text: "none of these" }));
    this.#form.addEventListener("submit", (event) => {
      event.preventDefault();
      this.send();
    });
    for (const radio of this.#form.elements.verdict) radio.addEventListener("change", () => this.#follow());
    byId("manifest").addEventListener("click", () => this.#manifest());
    byId("no-review").hidden = about.reviews;
    byId("manifest").disabled = !about.keeps_pictures;
    byId("manifest-note").textContent = about.keeps_pictures
      ? "A table of the reviewed films that were kept, to train on."
      : "Pictures are not kept, so there is nothing to train on. Start it with --keep DIR to keep those you review.";
  }

  show(one) {
    this.#one = one;
    const able = this.about.reviews && Boolean(one?.result) && one.status !== "failed";
    byId("review").hidden = !able;
    if (!able) return;
    const { verdict, label, comment, patient } = this.#form.elements;
    const { review, result } = one;
    for (const radio of verdict) radio.checked = radio.value === review?.verdict;
    label.value = review?.label ?? result.label ?? NONE;
    comment.value = review?.comment ?? "";
    patient.value = review?.patient ?? "";
    byId("review-state").textContent = review ? "Saved." : "";
    this.#follow();
  }

  mark(verdict) {
    if (byId("review").hidden) return;
    for (const radio of this.#form.elements.verdict) radio.checked = radio.value === verdict;
    this.#follow();
    if (verdict === "disagree") this.#form.elements.label.focus();
  }

  // To agree with an answer is to call it right; with one of several labels, to say which, or to leave it open.
  #follow() {
    const { verdict, label } = this.#form.elements;
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

  async send() {
    const one = this.#one;
    const { verdict, label, comment, patient } = this.#form.elements;
    const state = byId("review-state");
    if (byId("review").hidden) return;
    if (!verdict.value) {
      state.textContent = "Say first whether you agree.";
      return;
    }
    state.textContent = "Saving …";
    try {
      const fields = { verdict: verdict.value, label: label.value, comment: comment.value, patient: patient.value };
      this.cases.reviewed(one, await this.api.review(one.file, fields));
      if (one === this.#one) state.textContent = "Saved.";
    } catch (error) {
      if (one === this.#one) state.textContent = `Not saved: ${error.message}`;
    }
  }

  async #manifest() {
    try {
      const { export: counts } = await this.api.reviews();
      save("manifest.csv", "text/csv", await this.api.manifest());
      byId("manifest-note").textContent =
        `${counts.cases} films to train on; ${counts.not_kept} without a kept picture and ` +
        `${counts.without_label} without a label are left out.`;
    } catch (error) {
      byId("manifest-note").textContent = error.message;
    }
  }
}
