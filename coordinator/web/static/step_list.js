// The steps of a build as links: the chosen one stands in the page's address, and is in sight.

import { el, fill, list, outsider } from "./dom.js";
import { badge } from "./status.js";
import { countsOf, failedFirst, grouped, hashFor } from "./steps.js";
import { stepTime } from "./times.js";

const LONG_LIST = 12; // more than these don't fit a window: what failed stands first then
const ORDER_KEY = "pushrod.failedFirst";

export class StepList {
  #counts = document.getElementById("step-counts");
  #order = document.getElementById("failed-first");
  #list = document.getElementById("steps");
  #steps = [];
  #current = null;
  #shown = "";

  constructor() {
    this.#order.addEventListener("click", () => {
      localStorage.setItem(ORDER_KEY, this.#order.getAttribute("aria-pressed") !== "true");
      this.draw(this.#steps, this.#current);
    });
  }

  draw(steps, current) {
    this.#steps = steps;
    this.#current = current;
    const reordered = failedFirst(steps);
    const pressed = this.#wantsFailedFirst();
    this.#order.hidden = reordered.every((step, at) => step === steps[at]);
    this.#order.setAttribute("aria-pressed", pressed);
    fill(this.#counts, countsOf(steps));
    const marked = (pressed ? reordered : steps).map((step) => ({ ...step, current: step.name === current }));
    list(this.#list, grouped(marked), {
      key: (row) => (row.group ? `\n${row.steps[0].name}` : row.name), // no name has a line break
      create: (row) => (row.group ? el("li", { class: "step-group" }) : stepItem(row)),
      draw: (item, row) => (row.group ? drawGroup(item, row) : drawStep(item.firstElementChild, row)),
    });
    this.#reveal(`${current} ${pressed}`);
  }

  #wantsFailedFirst() {
    const chosen = localStorage.getItem(ORDER_KEY);
    return chosen === null ? this.#steps.length > LONG_LIST : chosen === "true";
  }

  /** Once for each choice and order: the reader may scroll away from it. */
  #reveal(shown) {
    if (shown === this.#shown) return;
    this.#shown = shown;
    const { offsetTop, offsetHeight } = this.#list.querySelector("[aria-current]").parentElement;
    const { scrollTop, clientHeight } = this.#list;
    const inSight = offsetTop >= scrollTop && offsetTop + offsetHeight <= scrollTop + clientHeight;
    if (!inSight) this.#list.scrollTop = offsetTop - (clientHeight - offsetHeight) / 2;
  }
}

function stepItem(step) {
  const kind = step.matrixOf ? "of-group" : null;
  return el("li", kind ? { class: kind } : {}, el("a", { class: "step-link", href: hashFor(step.name) }));
}

function drawGroup(item, { group, steps }) {
  fill(item, outsider(group, { class: "step-name" }), el("span", { class: "details" }, countsOf(steps)));
}

function drawStep(link, step) {
  if (step.current) link.setAttribute("aria-current", "true");
  else link.removeAttribute("aria-current");
  fill(
    link,
    badge(step.status, { quiet: true }),
    el("span", { class: "what" }, outsider(step.name, { class: "step-name" }), note(step)),
    el("span", { class: "when" }, stepTime(step)),
  );
}

function note(step) {
  const notes = [];
  if (step.attempt > 1) notes.push(`attempt ${step.attempt}`);
  if (step.dependsOn.length) notes.push(`after ${step.dependsOn.join(", ")}`);
  return notes.length ? outsider(notes.join(" · "), { class: "details" }) : null;
}
