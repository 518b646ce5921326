// The head of a build's page: what was built, how it stands, what can be done.

import { authorName } from "./build_list.js";
import { el, fill, outsider } from "./dom.js";
import { firstLine, restOfLines, shortCommit } from "./format.js";
import { fetchJson, Refused, Unreachable } from "./http.js";
import { may } from "./session.js";
import { badge, isActive } from "./status.js";
import { lasting, since } from "./times.js";

export class BuildHead {
  #place;
  #path;
  #text = el("div", { class: "build-text" });
  #refusal = el("p", { class: "notice bad", role: "alert", hidden: true });
  #cancel = el("button", { type: "button", class: "danger" }, "Cancel");
  #approve = el("button", { type: "button", class: "primary" }, "Approve");
  #retry = el("button", { type: "button", class: "primary" }, "Retry");
  #pin = el("button", { type: "button" });
  #pinned = false;

  constructor(place, path) {
    this.#place = place;
    this.#path = path;
    this.#cancel.addEventListener("click", () => this.#act(this.#cancel, "cancel"));
    this.#approve.addEventListener("click", () => this.#act(this.#approve, "approve"));
    this.#retry.addEventListener("click", () => this.#act(this.#retry, "retry"));
    this.#pin.addEventListener("click", () => this.#act(this.#pin, this.#pinned ? "unpin" : "pin"));
  }

  draw(build, project, person) {
    if (!this.#text.isConnected) {
      const actions = el("div", { class: "actions" }, this.#cancel, this.#approve, this.#pin, this.#retry);
      fill(this.#place, el("div", { class: "build-head" }, this.#text, actions), this.#refusal);
      this.#place.removeAttribute("aria-busy");
    }
    const allowed = (right) => may(person, right, project.account);
    this.#cancel.hidden = !isActive(build.state) || !allowed("build");
    this.#approve.hidden = build.state !== "held" || !allowed("manage");
    this.#retry.hidden = isActive(build.state) || !allowed("build");
    this.#pinned = build.pinnedBy !== undefined;
    this.#pin.textContent = this.#pinned ? "Unpin" : "Pin";
    this.#pin.title = this.#pinned ? "Leave it to the limits of retention" : "Keep it, whatever the limits of retention are";
    this.#pin.hidden = !allowed("build");
    fill(this.#text, ...this.#lines(build, project));
  }

  #lines(build, project) {
    const message = build.commitMessage ?? build.workflow;
    const rest = restOfLines(message);
    const links = build.links ?? {};
    return [
      el("p", { class: "build-state" },
        badge(build.state), lasting(build.startedAt, build.finishedAt),
        build.reason ?? build.waitsFor ? outsider(build.reason ?? build.waitsFor, { class: "reason" }) : null),
      el("h1", {}, el("span", { class: "number" }, `#${build.number}`), " ", outsider(firstLine(message))),
      rest ? el("details", { class: "message-rest" }, el("summary", {}, "Whole message"), el("pre", {}, outsider(rest))) : null,
      el("dl", { class: "facts" },
        fact("Project", el("a", { href: `/projects/${build.projectId}` }, outsider(project.name))),
        fact("Workflow", outsider(build.workflow)),
        build.module ? fact("Module", outsider(`${build.module.name} (${build.module.target})`, { title: build.module.path })) : null,
        build.cleanBuild ? fact("Caches", "empty at first (clean build)") : null,
        build.tag ? fact("Tag", linked(links.tag, outsider(build.tag, { class: "branch" }))) : null,
        build.branch ? fact("Branch", linked(links.branch, outsider(build.branch, { class: "branch" }))) : null,
        build.commitHash ? fact("Commit", linked(links.commit, el("code", { title: build.commitHash }, shortCommit(build.commitHash)))) : null,
        build.commitAuthor ? fact("Author", linked(links.author, outsider(authorName(build.commitAuthor), { title: build.commitAuthor }))) : null,
        fact("Started by", build.upstream ? upstream(build.upstream) : outsider(build.startedBy ? `${build.startedBy} (${build.event})` : build.event)),
        build.pullRequest ? fact("Pull request", pullRequest(build.pullRequest, links.pullRequest)) : null,
        build.includes ? fact("Includes", el("span", {}, build.includes.map(included).join(", "))) : null,
        build.retryOf ? fact("Retry of", el("a", { href: `/builds/${build.retryOf}` }, "an earlier build")) : null,
        build.pinnedBy ? fact("Pinned by", outsider(build.pinnedBy)) : null,
        build.logsGoneAt ? fact("Logs", el("span", {}, "deleted ", since(build.logsGoneAt))) : null,
        build.artifactsGoneAt ? fact("Artifacts", el("span", {}, "deleted ", since(build.artifactsGoneAt))) : null,
        fact("Created", since(build.createdAt)),
        ...Object.entries(build.params ?? {}).map(([name, value]) => parameter(name, value))),
    ];
  }

  async #act(button, action) {
    button.disabled = true;
    this.#refusal.hidden = true;
    try {
      const build = await fetchJson(`${this.#path}/${action}`, { method: "POST" });
      if (action === "retry") location.assign(`/builds/${build.id}`);
    } catch (error) {
      if (!(error instanceof Refused || error instanceof Unreachable)) throw error;
      this.#refusal.textContent = `Could not ${action}: ${error.message}`;
      this.#refusal.hidden = false;
    }
    button.disabled = false;
  }
}

const fact = (name, value) => el("div", {}, el("dt", {}, name), el("dd", {}, value));

const parameter = (name, value) =>
  el("div", { class: "parameter" }, el("dt", {}, "Parameter ", el("code", {}, outsider(name))), el("dd", {}, el("code", {}, outsider(value))));

/** To the forge, where it has a page of it. */
const linked = (address, child) =>
  address && /^https?:\/\//.test(address) ? el("a", { href: address, rel: "noreferrer" }, child) : child;

const pullRequest = ({ number, head, base, fork, title }, address) =>
  el("span", {}, linked(address, `#${number}`), " ", title ? [outsider(title, { class: "pull-title" }), ": "] : null, outsider(head), " → ", outsider(base), fork ? " (from a fork)" : null);

const upstream = ({ project, workflow, buildId, buildNumber }) =>
  el("span", {}, el("a", { href: `/builds/${buildId}` }, outsider(`${project} #${buildNumber}`)), " ", outsider(`(${workflow})`));

const included = ({ project, file, ref, sha }) =>
  `${project}/${file} at ${ref ? `${ref} (${sha.slice(0, 10)})` : sha.slice(0, 10)}`;
