// The steps of a build as links: the chosen one stands in the page's address.

import { el, fill, list, outsider } from "./dom.js";
import { badge } from "./status.js";
import { hashFor } from "./steps.js";
import { stepTime } from "./times.js";

export function drawSteps(place, steps, current) {
  const items = steps.map((step) => ({ ...step, current: step.name === current }));
  list(place, items, {
    key: (step) => step.name,
    create: (step) => el("li", {}, el("a", { class: "step-link", href: hashFor(step.name) })),
    draw: (item, step) => drawStep(item.firstElementChild, step),
  });
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
