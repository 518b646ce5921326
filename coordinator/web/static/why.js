// Why a step with `inputs` ran, or which build its result was taken from.

import { el, fill, outsider } from "./dom.js";
import { fetchJson, Refused, Unreachable } from "./http.js";
import { isFinished } from "./status.js";
import { hashFor } from "./steps.js";

/** Fill `place` for a step whose turn has come; it is empty for one without `inputs`. */
export async function drawWhy(place, step) {
  const asked = step.inputs && (step.attempt || isFinished(step.status));
  const key = asked ? `${step.id} ${step.attempt} ${step.status}` : "";
  if (place.dataset.step === key) return;
  place.dataset.step = key;
  fill(place);
  if (!asked) return;
  let parts;
  try {
    parts = told(await fetchJson(`/api/steps/${encodeURIComponent(step.id)}/why`), step);
  } catch (error) {
    if (!(error instanceof Refused || error instanceof Unreachable)) throw error;
    parts = [el("p", { class: "notice" }, `Why it ran can’t be read: ${error.message}`)];
  }
  // Another step may have been chosen while this answer was on its way.
  if (place.dataset.step === key) fill(place, ...parts);
}

function told(why, step) {
  const kept = why.notKept ? el("p", { class: "details" }, "No later build takes its result: ", outsider(why.notKept), ".") : null;
  if (why.takenFrom)
    return [el("p", {}, "Not run: its result is that of ", buildLink(why, why.takenFrom, step), ...sender(why), ", which had equal inputs."), kept];
  if (!why.differences?.length) return [el("p", {}, outsider(sentence(why.says))), kept];
  return [
    el("details", { open: why.differences.length <= 5 },
      el("summary", {}, "It ran, for it differs from ", buildLink(why, why.comparedWith, step)),
      el("ul", {}, why.differences.map((one) => el("li", {}, outsider(one))))),
    kept,
  ];
}

const sender = (why) => (why.laptopOf ? [", sent from the laptop of ", outsider(why.laptopOf)] : []);

/** A build that was deleted has its number alone. */
const buildLink = (why, number, step) =>
  why.otherBuildId
    ? el("a", { href: `/builds/${encodeURIComponent(why.otherBuildId)}${hashFor(step.name, null)}` }, `#${number}`)
    : `#${number}`;

const sentence = (words) => `${words[0].toUpperCase()}${words.slice(1)}.`;
