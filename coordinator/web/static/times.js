// Times that tick: durations of what still runs, and how long ago something was.

import { el } from "./dom.js";
import { ago, duration } from "./format.js";
import { serverNow } from "./http.js";

/** How long something took, or has taken until now; null for what never ran. */
export function lasting(startedAt, finishedAt) {
  if (!startedAt || startedAt === finishedAt) return null;
  const started = Date.parse(startedAt);
  if (finishedAt) return el("span", { class: "time" }, duration(Date.parse(finishedAt) - started));
  return ticking({ "data-started": started });
}

/** A step that waits for its next attempt keeps its start, but no time runs. */
export const stepTime = (step) =>
  step.status === "RUNNING" || step.finishedAt ? lasting(step.startedAt, step.finishedAt) : null;

export function since(moment) {
  const title = new Date(moment).toLocaleString();
  return ticking({ "data-ago": Date.parse(moment), datetime: moment, title });
}

/** How long it is until then. */
export const until = (moment) => ticking({ "data-until": Date.parse(moment), datetime: moment });

function ticking(properties) {
  const element = el("time", { class: "time", ...properties });
  tick(element);
  return element;
}

function tick(element) {
  const { started, until: end, ago: moment } = element.dataset;
  let text;
  if (started) text = wholeSeconds(serverNow() - Number(started));
  else if (end) text = wholeSeconds(Number(end) - serverNow());
  else text = ago(serverNow() - Number(moment));
  if (element.textContent !== text) element.textContent = text;
}

const TICKING = "time[data-started], time[data-until], time[data-ago]";
const wholeSeconds = (milliseconds) =>
  milliseconds < 10_000 ? `${Math.floor(Math.max(0, milliseconds) / 1000)} s` : duration(milliseconds);

setInterval(() => {
  if (!document.hidden) document.querySelectorAll(TICKING).forEach(tick);
}, 1_000);
