// States, each as a shape, a word and a colour: never by colour alone.

import { el } from "./dom.js";

const SVG = "http://www.w3.org/2000/svg";

// Paths on a 16 × 16 field, drawn as lines.
const SHAPES = {
  tick: "M4.5 8.5l2.4 2.4 4.7-5.2",
  cross: "M5.3 5.3l5.4 5.4M10.7 5.3l-5.4 5.4",
  dash: "M4.8 8h6.4",
  pause: "M6.3 5.3v5.4M9.7 5.3v5.4",
  skip: "M5 5l3 3-3 3M8.5 5l3 3-3 3",
  clock: "M8 4.8V8l2.2 1.6",
  dots: "M5 8h.01M8 8h.01M11 8h.01",
  arc: "",
};

const LOOKS = {
  held: ["waiting", "pause", "held"],
  queued: ["waiting", "clock", "queued"],
  running: ["running", "arc", "running"],
  succeeded: ["good", "tick", "succeeded"],
  failed: ["bad", "cross", "failed"],
  cancelled: ["off", "dash", "cancelled"],
  received: ["waiting", "clock", "received"],
  processed: ["good", "tick", "processed"],
  ignored: ["off", "dash", "ignored"],
  BLOCKED: ["waiting", "dots", "blocked"],
  READY: ["waiting", "clock", "ready"],
  RUNNING: ["running", "arc", "running"],
  SUCCESS: ["good", "tick", "succeeded"],
  FAILED: ["bad", "cross", "failed"],
  CANCELLED: ["off", "dash", "cancelled"],
  SKIPPED: ["off", "skip", "skipped"],
};
const UNKNOWN = ["waiting", "dots"];

const looks = (state) => LOOKS[state] ?? [...UNKNOWN, String(state).toLowerCase()];

export const word = (state) => looks(state)[2];

export const isActive = (state) => ["held", "queued", "running"].includes(state);

export const isFinished = (status) => ["SUCCESS", "FAILED", "CANCELLED", "SKIPPED"].includes(status);

/** The symbol, with its word beside it or, `quiet`, for screen readers and as a tooltip. */
export function badge(state, { quiet = false } = {}) {
  const [tone, shape, name] = looks(state);
  return el(
    "span",
    { class: `badge ${tone}`, title: quiet ? name : undefined },
    symbol(shape),
    el("span", { class: quiet ? "unseen" : "word" }, name),
  );
}

function symbol(shape) {
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("viewBox", "0 0 16 16");
  svg.setAttribute("class", `symbol ${shape}`);
  svg.setAttribute("aria-hidden", "true");
  svg.append(drawn("circle", { cx: 8, cy: 8, r: 7, class: "disc" }));
  if (SHAPES[shape]) svg.append(drawn("path", { d: SHAPES[shape], class: "mark" }));
  return svg;
}

function drawn(name, attributes) {
  const element = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  return element;
}
