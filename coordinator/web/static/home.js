// `/`: every project I may see with its last build, and the recent builds of all.

import { drawBuilds } from "./build_list.js";
import { codeBlock, el, fill, list, outsider } from "./dom.js";
import { fetchJson } from "./http.js";
import { live } from "./live.js";
import { fetchSession } from "./session.js";
import { showRefusal } from "./shell.js";
import { badge, isActive } from "./status.js";
import { lasting, since } from "./times.js";

const BUSY_MS = 2_000;
const CALM_MS = 8_000;

const RECENT_BUILDS = 20;

const projectsPlace = document.getElementById("projects");
let person = null;
let projects = [];

live(turn, (error) => showRefusal(projectsPlace, error));

async function turn(signal) {
  person ??= await fetchSession(signal);
  const found = await overview(signal);
  if (signal.aborted) return 0;
  projects = found.projects.sort((a, b) => label(a).localeCompare(label(b)));
  draw(found.builds);
  return found.builds.some((build) => isActive(build.state)) ? BUSY_MS : CALM_MS;
}

/** A user of several accounts sees those of all of them together. */
async function overview(signal) {
  const accounts = person.accounts ?? [];
  if (accounts.length < 2) return fetchJson("/api/overview", { signal });
  const paths = accounts.map(({ id }) => `/api/overview?accountId=${encodeURIComponent(id)}`);
  const found = await Promise.all(paths.map((path) => fetchJson(path, { signal })));
  const builds = found.flatMap((one) => one.builds).sort((a, b) => b.createdAt.localeCompare(a.createdAt));
  return { projects: found.flatMap((one) => one.projects), builds: builds.slice(0, RECENT_BUILDS) };
}

const label = (project) => `${project.account}/${project.name}`;

function draw(builds) {
  projectsPlace.removeAttribute("aria-busy");
  document.getElementById("recent-builds").hidden = builds.length === 0;
  if (projects.length === 0) {
    fill(projectsPlace, welcome());
    return;
  }
  drawProjects();
  const names = new Map(projects.map((project) => [project.id, project.name]));
  drawBuilds(document.getElementById("builds"), builds, (build) => names.get(build.projectId) ?? "");
}

function drawProjects() {
  const several = new Set(projects.map((project) => project.account)).size > 1;
  if (!projectsPlace.querySelector("ul")) fill(projectsPlace, el("ul", { class: "cards" }));
  const cards = projects.map((project) => ({ ...project, several, last: project.lastBuild }));
  list(projectsPlace.querySelector("ul"), cards, {
    key: (project) => project.id,
    create: (project) => el("li", {}, el("a", { class: "card", href: `/projects/${project.id}` })),
    draw: (card, project) => fill(card.firstElementChild, ...cardOf(project)),
  });
}

function cardOf({ name, account, several, last }) {
  return [
    el("span", { class: "card-title" }, several ? [outsider(account), " / "] : null, outsider(name, { class: "strong" })),
    last
      ? el("span", { class: "card-state" },
          badge(last.state), el("span", { class: "details" },
            el("span", { class: "number" }, `#${last.number}`),
            lasting(last.startedAt, last.finishedAt),
            since(last.createdAt)))
      : el("span", { class: "card-state details" }, "no build yet"),
  ];
}

function welcome() {
  return el("div", { class: "empty" },
    el("p", {}, "No projects yet. Make the first one, and push to the address it prints:"),
    codeBlock("pushrod project create hello"),
  );
}
