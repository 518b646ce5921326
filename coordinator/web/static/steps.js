// Steps in the order of the graph, and which of them the page shows. Pure.

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

/**
 * The step to show when nobody chose one: the one shown as long as it runs or has failed, else
 * the first that runs, else the first that failed; while others wait the one shown, and at the end
 * the last that ran.
 */
export function automatic(steps, shownName) {
  const shown = steps.find((step) => step.name === shownName);
  if (shown && ["RUNNING", "FAILED"].includes(shown.status)) return shown;
  const running = steps.find((step) => step.status === "RUNNING");
  if (running) return running;
  const failed = steps.find((step) => step.status === "FAILED");
  if (failed) return failed;
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
