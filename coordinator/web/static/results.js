// What the steps of a build have reported: failed tests first, then coverage and summaries.

import { el, fill, outsider } from "./dom.js";
import { fetchJson, Refused, Unreachable } from "./http.js";
import { markdown } from "./markdown.js";
import { isFinished } from "./status.js";
import { hashFor } from "./steps.js";

const MOST_FAILED = 20;
const MOST_OPEN = 1;

/** Fill `place` with what `steps` have reported so far; it is hidden while that is nothing. */
export async function drawResults(place, path, steps) {
  const reporting = steps.filter((step) => step.reports && (isFinished(step.status) || step.attempt > 1));
  const key = JSON.stringify(reporting.map((step) => [step.id, step.attempt, step.status]));
  if (place.dataset.key === key) return;
  place.dataset.key = key;
  if (!reporting.length) return show(place, []);
  try {
    const found = (await fetchJson(`${path}/results`)).steps;
    const failed = found.some((one) => one.tests?.failed)
      ? (await fetchJson(`${path}/tests?result=failed&limit=${MOST_FAILED}`)).tests : [];
    if (place.dataset.key === key) show(place, [...tests(found, failed), ...coverage(found), ...summaries(found)]);
  } catch (error) {
    if (!(error instanceof Refused || error instanceof Unreachable)) throw error;
    delete place.dataset.key;
    show(place, [el("p", { class: "notice" }, `The results can’t be read: ${error.message}`)]);
  }
}

function show(place, parts) {
  place.hidden = !parts.length;
  fill(place, ...parts);
}

function tests(found, failed) {
  const counted = found.filter((one) => one.tests);
  if (!counted.length) return [];
  const total = counted.reduce((sum, one) => sum + one.tests.failed, 0);
  return [
    el("h2", {}, "Tests"),
    el("ul", { class: "result-steps" }, counted.map(stepLine)),
    failed.length ? el("ol", { class: "failed-tests" }, failed.map(failedTest)) : null,
    total > failed.length ? el("p", { class: "details" }, `${number(total - failed.length)} more failed.`) : null,
  ];
}

const stepLine = (one) =>
  el("li", {},
    el("a", { href: hashFor(one.step, null) }, outsider(one.step)), " ",
    one.tests.failed
      ? el("span", { class: "bad-word" }, `${number(one.tests.failed)} of ${number(one.tests.tests)} failed`)
      : el("span", {}, `${number(one.tests.tests)} passed`),
    el("span", { class: "details" }, more(one)));

function more(one) {
  const parts = [
    one.newlyFailing ? `${number(one.newlyFailing)} newly since #${one.comparedWith}` : "",
    one.flaky ? `${number(one.flaky)} flaky` : "",
    one.tests.skipped ? `${number(one.tests.skipped)} skipped` : "",
    `${one.tests.seconds.toFixed(1)} s`,
  ];
  return ` ${parts.filter(Boolean).join(" · ")}`;
}

function failedTest(test, index) {
  const place = test.file ? `${test.file}${test.line ? `:${test.line}` : ""}` : "";
  return el("li", {},
    el("details", { open: index < MOST_OPEN },
      el("summary", {},
        outsider(test.suite ? `${test.suite} ` : "", { class: "details" }),
        outsider(test.name, { class: "test-name" }),
        test.newlyFailing ? el("span", { class: "mark-word" }, "new") : null,
        test.flaky ? el("span", { class: "mark-word" }, "flaky") : null),
      el("p", { class: "details" }, outsider(test.step), place ? [" · ", outsider(place)] : null),
      el("pre", { class: "test-text", tabindex: "0" }, test.details ?? test.message ?? "")));
}

function coverage(found) {
  const measured = found.filter((one) => one.coverage);
  if (!measured.length) return [];
  return [el("h2", {}, "Coverage"), el("ul", { class: "result-steps" }, measured.map(coverageLine))];
}

const coverageLine = ({ step, coverage: one }) =>
  el("li", {},
    el("a", { href: hashFor(step, null) }, outsider(step)), " ",
    el("meter", { min: "0", max: "100", value: one.percent, "aria-label": "Coverage" }), " ",
    el("span", { class: "number strong" }, `${one.percent.toFixed(2)} %`),
    el("span", { class: "details" },
      ` ${number(one.linesCovered)} of ${number(one.lines)} lines`,
      one.change === undefined ? "" : ` · ${signed(one.change)} against #${one.comparedWith}`));

const summaries = (found) =>
  found.filter((one) => one.summary?.length).map((one) =>
    el("article", { class: "summary", "aria-label": `Summary of ${one.step}` },
      el("p", { class: "details" }, "Summary of ", outsider(one.step)),
      markdown(one.summary)));

const number = (value) => value.toLocaleString("en");
const signed = (value) => `${value < 0 ? "−" : "+"}${Math.abs(value).toFixed(2)}`;
