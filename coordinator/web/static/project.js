// `/projects/{id}`: how to push to it, and its builds.

import { drawBuilds } from "./build_list.js";
import { codeBlock, el, fill } from "./dom.js";
import { fetchJson } from "./http.js";
import { live } from "./live.js";
import { howToPush } from "./push_help.js";
import { crumbs, showRefusal, title } from "./shell.js";
import { isActive } from "./status.js";

const BUSY_MS = 2_000;
const CALM_MS = 8_000;
const PAGE = 25;

const projectId = decodeURIComponent(location.pathname.split("/")[2]);
const offset = Math.max(0, Number.parseInt(new URLSearchParams(location.search).get("offset"), 10) || 0);
const path = `/api/projects/${encodeURIComponent(projectId)}`;
const place = document.getElementById("project");
let project = null;

live(turn, (error) => showRefusal(place, error));

async function turn(signal) {
  const [found, { builds, pagination }] = await Promise.all([
    fetchJson(path, { signal }),
    fetchJson(`${path}/builds?limit=${PAGE}&offset=${offset}`, { signal }),
  ]);
  if (signal.aborted) return 0;
  project = found;
  draw(builds, pagination);
  const expecting = pagination.total === 0 || project.pushWaits || builds.some((build) => isActive(build.state));
  return expecting ? BUSY_MS : CALM_MS;
}

function draw(builds, pagination) {
  const empty = pagination.total === 0;
  drawHead(empty);
  drawWaitingPush();
  document.getElementById("builds-section").hidden = empty;
  drawBuilds(document.getElementById("builds"), builds);
  fill(
    document.getElementById("pages"),
    offset > 0 ? el("a", { href: `?offset=${Math.max(0, offset - PAGE)}`, rel: "prev" }, "← Newer") : null,
    pagination.hasMore ? el("a", { href: `?offset=${offset + PAGE}`, rel: "next" }, "Older →") : null,
  );
}

/** Drawn once, and again when the first build takes the place of the instructions. */
function drawHead(empty) {
  if (place.dataset.empty === String(empty)) return;
  place.dataset.empty = String(empty);
  place.removeAttribute("aria-busy");
  title(project.name);
  crumbs(["Projects", "/"], [project.name, location.pathname]);
  fill(
    place,
    el("h1", {}, el("bdi", {}, project.name)),
    el("dl", { class: "facts" },
      el("div", {}, el("dt", {}, "Account"), el("dd", {}, el("bdi", {}, project.account))),
      project.repoUrl ? el("div", {}, el("dt", {}, "Repository"), el("dd", {}, el("code", {}, project.repoUrl))) : null,
    ),
    project.repoUrl ? webhookHint(empty) : empty
      ? howToPush(project)
      : el("div", { class: "push" }, codeBlock(`git push ${project.pushUrl} HEAD`)),
  );
}

/** A push that has no build yet: why, and that nobody needs to do anything. */
function drawWaitingPush() {
  const waits = project.pushWaits;
  fill(
    document.getElementById("push-waits"),
    waits
      ? el("p", { class: "notice bad" },
          `The last push has no build yet: ${waits.reason}. It is tried again by itself (so far ${waits.tries}×).`)
      : null,
  );
}

/** Without a token, pull requests there show nothing of the builds here. */
function untold() {
  const name = `${project.account}/${project.slug}`;
  return el("span", { class: "hint" },
    " · Its forge is not told of builds: ",
    el("code", {}, `pushrod project set ${name} --forge-token-file FILE`));
}

/** A project that is fetched from elsewhere: its pushes come as webhooks. */
function webhookHint(empty) {
  const deliveries = el("a", { href: `/projects/${encodeURIComponent(project.id)}/deliveries` }, "Deliveries");
  if (!empty) return el("p", {}, deliveries, project.tellsForge ? null : untold());
  return el("div", { class: "empty" },
    el("p", {}, "No builds yet. Give the repository a webhook to this address, with the project's secret:"),
    codeBlock(project.webhookUrl),
    el("p", { class: "hint" }, "Each push there is then built. ", deliveries, " lists what came in."),
  );
}
