// `/builds/{id}`: one build, live: its state, its steps, and the log of the chosen one.

import { BuildHead } from "./build_head.js";
import { fetchJson } from "./http.js";
import { DONE, live } from "./live.js";
import { drawProblems } from "./problems.js";
import { fetchSession, may } from "./session.js";
import { drawResults } from "./results.js";
import { crumbs, showRefusal, title } from "./shell.js";
import { isActive, word } from "./status.js";
import { StepList } from "./step_list.js";
import { StepPanel } from "./step_panel.js";
import { automatic, chosenBy, inGraphOrder } from "./steps.js";

const HOLD_SECONDS = 25;
const SHORTEST_TURN_MS = 150;
const UNCHANGED_TURN_MS = 1_000; // after an answer that was not held and brought nothing

const buildId = decodeURIComponent(location.pathname.split("/")[2]);
const path = `/api/projects/-/builds/${encodeURIComponent(buildId)}`;
const place = document.getElementById("build");
const head = new BuildHead(place, path);
const stepPlace = document.getElementById("step");
const panel = new StepPanel(stepPlace);
const stepList = new StepList();
const oneColumn = matchMedia("(max-width: 55.99rem)"); // as in page.css
let build = null;
let project = null;
let person = null;
let shownStep = null;

live(turn, (error) => showRefusal(place, error));
window.addEventListener("hashchange", () => {
  if (!build?.steps.length) return;
  drawChoice();
  if (oneColumn.matches) stepPlace.scrollIntoView({ block: "nearest" });
});

async function turn(signal, mayHold) {
  const asked = performance.now();
  const held = build && mayHold ? `?wait=${HOLD_SECONDS}&seen=${build.version}` : "";
  const answer = await fetchJson(path + held, { signal });
  project ??= await fetchJson(`/api/projects/${answer.projectId}`, { signal });
  person ??= await fetchSession(signal);
  if (signal.aborted) return 0;
  const unchanged = held && answer.version === build.version;
  announce(build, answer);
  build = { ...answer, steps: inGraphOrder(answer.steps) };
  draw();
  if (!isActive(build.state)) return DONE;
  return Math.max(0, (unchanged ? UNCHANGED_TURN_MS : SHORTEST_TURN_MS) - (performance.now() - asked));
}

function draw() {
  title(`#${build.number} ${word(build.state)} · ${project.name}`);
  crumbs(["Projects", "/"], [project.name, `/projects/${project.id}`], [`#${build.number}`, location.pathname]);
  head.draw(build, project, person);
  drawProblems(document.getElementById("problems"), build.problems);
  drawResults(document.getElementById("results"), path, build.steps);
  document.getElementById("columns").hidden = build.steps.length === 0;
  if (build.steps.length) drawChoice();
}

function drawChoice() {
  const choice = chosenBy(location.hash);
  const chosen = build.steps.find((step) => step.name === choice.step);
  const step = chosen ?? automatic(build.steps, shownStep);
  shownStep = step.name;
  stepList.draw(build.steps, step.name);
  panel.show(step, chosen ? choice.attempt : null, (right) => may(person, right, project.account));
}

/** Tell screen readers what changed; the first state is read with the page. */
function announce(before, after) {
  if (!before) return;
  const old = new Map(before.steps.map((step) => [step.name, step.status]));
  const news = after.steps
    .filter((step) => old.has(step.name) && old.get(step.name) !== step.status)
    .map((step) => `Step ${step.name} ${word(step.status)}.`);
  if (before.state !== after.state) news.push(`Build ${word(after.state)}.`);
  if (news.length) document.getElementById("announcement").textContent = news.join(" ");
}
