// The chosen step: how it stands, its artifacts, its log.

import { drawArtifacts } from "./artifacts.js";
import { copyButton, el, fill, outsider } from "./dom.js";
import { gateForm } from "./gate_form.js";
import { LogPanel } from "./log_panel.js";
import { badge, isFinished } from "./status.js";
import { hashFor } from "./steps.js";
import { stepTime, until } from "./times.js";
import { drawWhy } from "./why.js";

const REASONS = {
  engine: "the engine could not run it",
  image: "its image could not be built or pushed",
  source: "its source could not be fetched",
  outputs: "its outputs could not be stored",
};

export class StepPanel {
  #place;
  #head = el("header", { class: "step-head" });
  #why = el("div", { class: "why" });
  #artifacts = el("div", { class: "artifacts" });
  #log = null;
  #drawn = "";

  constructor(place) {
    this.#place = place;
    fill(place, this.#head, this.#why, this.#artifacts);
  }

  /**
   * Show `step`; `chosenAttempt` is null for the newest, which is followed from try to try.
   * `allowed(right)` says what the reader may do.
   */
  show(step, chosenAttempt, allowed) {
    const tried = step.attempt ?? 0;
    const attempt = Math.min(chosenAttempt ?? tried, tried);
    const state = JSON.stringify([step, chosenAttempt]);
    if (state === this.#drawn) return;
    this.#drawn = state;
    this.#place.setAttribute("aria-label", `Step ${step.name}`);
    this.#drawHead(step, attempt, allowed);
    drawWhy(this.#why, step);
    drawArtifacts(this.#artifacts, isFinished(step.status) && tried ? step : null);
    this.#showLog(step, attempt);
  }

  #drawHead(step, attempt, allowed) {
    fill(
      this.#head,
      el("h2", {}, outsider(step.name)),
      el("p", { class: "step-state" },
        badge(step.status), stepTime(step),
        step.agent ? el("span", { class: "agent" }, "on ", outsider(step.agent.name ?? step.agent)) : null,
        step.reason ? outsider(REASONS[step.reason] ?? step.reason, { class: "reason" }) : null),
      step.attempt > 1 ? attempts(step, attempt) : null,
      step.message ? outsider(step.message, { class: `notice message ${step.status === "FAILED" ? "bad" : ""}` }) : null,
      step.images?.length ? images(step.images) : null,
      step.waitsFor && !isFinished(step.status) ? el("p", { class: "notice message" }, waitsFor(step)) : null,
      gateForm(step, allowed),
    );
  }

  #showLog(step, attempt) {
    const begun = attempt >= 1;
    const key = begun ? `${step.id} ${attempt}` : "";
    if (this.#log?.key === key) return;
    this.#log?.remove();
    this.#log = begun ? new LogPanel({ key, step, attempt }) : null;
    if (this.#log) this.#place.append(this.#log.element);
  }
}

/** In words; what is left of the time before its next attempt goes on by itself. */
const waitsFor = (step) =>
  step.retryAt ? el("span", {}, "Tried again in ", until(step.retryAt), ".") : outsider(sentence(step.waitsFor));

/** `waits for lint` → `Waits for lint.` */
const sentence = (words) => `${words[0].toUpperCase()}${words.slice(1)}.`;

/** What was pushed: by its digest it stays the same, whatever becomes of the tag. */
const images = (pushed) =>
  el("ul", { class: "images", "aria-label": "Images" },
    pushed.map((image) =>
      el("li", {},
        el("code", {}, outsider(image.reference)), " ",
        el("code", { class: "digest" }, outsider(image.digest)),
        copyButton(() => `${image.reference.replace(/:[^:/]*$/, "")}@${image.digest}`))));

function attempts(step, shown) {
  const numbers = Array.from({ length: step.attempt }, (_, index) => index + 1);
  return el("nav", { class: "attempts", "aria-label": "Attempts" }, "Attempt",
    numbers.map((number) =>
      el("a", {
        href: hashFor(step.name, number === step.attempt ? null : number),
        "aria-current": number === shown ? "true" : undefined,
      }, String(number))));
}
