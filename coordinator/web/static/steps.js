// Steps in the order of the graph, and which of them the page shows. Pure.

import { word } from "./status.js";

const BY_URGENCY = ["BLOCKED", "READY", "RUNNING", "FAILED"];

/** Dependencies first; among equals the order of the workflow stays. A cycle can't hang it. */
export function inGraphOrder(steps) {
  const placed = new Set();
  const names = new Set(steps.map((step) => step.name));
  const ordered = [];
  let rest = steps;
  while (rest.length) {
    const ready = rest.filter((step) => step.dependsOn.every((name) => placed.has(name) || !names.has(name)));
    const next = ready[0] ?? rest[0];
    placed.add(next.name);
    ordered.push(next);
    rest = rest.filter((step) => step !== next);
  }
  return ordered;
}

/** What failed, runs and waits before all the rest; among equals the order stays. */
export function failedFirst(steps) {
  const urgency = ({ status }) => BY_URGENCY.indexOf(status); // -1: nothing is left to do about it
  return [...steps].sort((a, b) => urgency(b) - urgency(a));
}

/** The same steps with `{group, steps}` before those that follow each other as one matrix's. */
export function grouped(steps) {
  const rows = [];
  let group = null;
  for (const step of steps) {
    if (!step.matrixOf) group = null;
    else if (group?.group === step.matrixOf) group.steps.push(step);
    else rows.push(group = { group: step.matrixOf, steps: [step] });
    rows.push(step);
  }
  return rows.filter((row) => !row.group || row.steps.length > 1);
}

/** `59 succeeded, 1 failed`: as often as each comes, the most frequent first. */
export function countsOf(steps) {
  const counts = new Map();
  for (const { status } of steps) counts.set(status, (counts.get(status) ?? 0) + 1);
  return [...counts].sort(([, a], [, b]) => b - a).map(([status, count]) => `${count} ${word(status)}`).join(", ");
}

/**
 * The step to show when nobody chose one: the one shown as long as it runs, has failed or was
 * stopped in the middle, else the first that runs, that failed, that asks for an approval; while others
 * wait the one shown, and at the end the last that ran.
 */
export function automatic(steps, shownName) {
  const shown = steps.find((step) => step.name === shownName);
  if (shown && ["RUNNING", "FAILED"].includes(shown.status)) return shown;
  if (shown?.status === "CANCELLED" && shown.startedAt) return shown; // its log is being read
  const running = steps.find((step) => step.status === "RUNNING");
  if (running) return running;
  const failed = steps.find((step) => step.status === "FAILED");
  if (failed) return failed;
  const asking = steps.find((step) => step.approval?.expiresAt);
  if (asking) return asking;
  const waiting = steps.some((step) => ["BLOCKED", "READY"].includes(step.status));
  if (shown && waiting) return shown;
  return steps.findLast((step) => step.startedAt) ?? shown ?? steps[0];
}

/** `#step=test&attempt=1` → what the reader chose; both may be absent. */
export function chosenBy(hash) {
  const choice = new URLSearchParams(hash.replace(/^#/, ""));
  const attempt = Number.parseInt(choice.get("attempt"), 10);
  return { step: choice.get("step"), attempt: attempt >= 1 ? attempt : null };
}

export function hashFor(step, attempt) {
  const choice = new URLSearchParams({ step });
  if (attempt) choice.set("attempt", attempt);
  return `#${choice}`;
}
