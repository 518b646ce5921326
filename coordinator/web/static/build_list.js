// Builds as rows, newest first: the same on the home page and on a project's.

import { el, fill, list, outsider } from "./dom.js";
import { firstLine, shortCommit } from "./format.js";
import { badge } from "./status.js";
import { lasting, since } from "./times.js";

/** `projectName(build)` adds the project to each row; without it all are of one project. */
export function drawBuilds(place, builds, projectName) {
  const rows = place.querySelector("ul") ?? place.appendChild(el("ul", { class: "rows" }));
  list(rows, builds.map((build) => ({ ...build, project: projectName?.(build) })), {
    key: (build) => build.id,
    create: (build) => el("li", {}, el("a", { class: "row build-row", href: `/builds/${build.id}` })),
    draw: (row, build) => fill(row.firstElementChild, ...cells(build)),
  });
}

function cells(build) {
  return [
    badge(build.state),
    el("span", { class: "what" },
      el("span", { class: "headline" },
        build.project ? outsider(build.project, { class: "strong", title: build.project }) : null,
        el("span", { class: "number" }, `#${build.number}`),
        outsider(headline(build), { class: "title" }),
      ),
      el("span", { class: "details" }, ...details(build)),
    ),
    el("span", { class: "when" },
      lasting(build.startedAt, build.finishedAt),
      el("span", { class: "ago" }, since(build.createdAt)),
    ),
  ];
}

/** What its author calls a pull request says more than its last commit does. */
const headline = (build) =>
  build.pullRequest?.title ?? (build.commitMessage ? firstLine(build.commitMessage) : build.workflow);

export function details(build) {
  return [
    build.waitsFor ?? null,
    build.commitMessage ? outsider(build.workflow, { class: "workflow" }) : null,
    build.tag ? outsider(build.tag, { class: "branch", title: "Tag" }) : null,
    build.branch ? outsider(build.branch, { class: "branch" }) : null,
    build.commitHash ? el("code", { title: build.commitHash }, shortCommit(build.commitHash)) : null,
    build.commitAuthor ? outsider(authorName(build.commitAuthor)) : null,
  ];
}

/** `Name <email>` → `Name`. */
export const authorName = (author) => author.replace(/\s*<[^<>]*>\s*$/, "") || author;
