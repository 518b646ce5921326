// What to type for a project's first build, in the order in which to type it.

import { codeBlock, el } from "./dom.js";

const WORKFLOW = `name: ci
on:
  push: {}
steps:
  - name: test
    image: debian
    run: |
      echo "Hello from $(uname -m)"
`;

export function howToPush(project) {
  return el("div", { class: "empty" },
    el("p", {}, "No builds yet. Three things make the first one:"),
    el("ol", { class: "recipe" },
      el("li", {}, "Say what to run, in ", el("code", {}, ".pushrod/ci.yml"), ":", codeBlock(WORKFLOW)),
      el("li", {}, "Commit it:", codeBlock("git add .pushrod\ngit commit -m 'Build with pushrod'")),
      el("li", {}, "Push. Git asks for a password: give it your access token, under any user name.",
        codeBlock(`git remote add pushrod ${project.pushUrl}\ngit push pushrod HEAD`)),
    ),
    el("p", { class: "hint" }, "The push prints the address of its build, and the build appears here by itself."),
  );
}
