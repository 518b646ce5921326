"""What Woodpecker and Drone have in common: containers one after the other in one folder."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from pipelines_schema.nodes import MapNode, Node, ScalarNode
from pushrod.importing.draft import StepDraft, Value, WorkflowDraft, all_of
from pushrod.importing.expansions import OPENING
from pushrod.importing.formats.containers.filters import condition_of
from pushrod.importing.formats.containers.plugins import image_of
from pushrod.importing.ledger import Keys, Verdict
from pushrod.importing.node_texts import text_of
from pushrod.importing.services import service_name
from pushrod.importing.shell_text import (
    exported,
    failing,
    joined,
    kept_expansions,
    unknown_variables,
    with_variables,
)
from pushrod.importing.waiting import verdict_of, why_waiting

_SHARED = (
    "the steps shared a folder: each hands on all its files; name in `outputPaths` what later "
    "steps need"
)
_NAME = re.compile(r"\$\{(\w+)\}|\$(\w+)")
_LEFT = {
    "volumes": "a step has no folders of its machine; `cacheDirs` are kept",
    "entrypoint": "scripts are run by bash",
    "command": "write it as a script",
    "devices": "a step has no devices of its machine",
    "network_mode": "`network` is `default` or `none`",
    "backend_options": "they belong to one engine",
    "dns": "a step has its engine's names",
    "dns_search": "a step has its engine's names",
    "extra_hosts": "a step has its engine's names",
    "shm_size": "only memory and processors have limits",
    "tmpfs": "a step has no such folders",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Dialect:
    """What the two call differently."""

    variables: Mapping[str, str]
    theirs: re.Pattern[str]
    outside: Mapping[str, str]
    """Their variables as words of ours outside of scripts."""
    workspace: str


@dataclass(slots=True, kw_only=True)
class Chain:
    """One pipeline on its way to a workflow."""

    draft: WorkflowDraft
    dialect: Dialect
    image: str
    matrix: dict[str, Value] = field(default_factory=dict)
    names: frozenset[str] = frozenset()
    agents: dict[str, str] = field(default_factory=dict)
    services: dict[str, Value] = field(default_factory=dict)
    git: Value | None = None
    when: str | None = None
    """Of the pipeline as a whole."""

    def outside(self, keys: Keys, what: str, text: str) -> str | None:
        """A text outside of scripts with its variables; None where one is unknown."""
        unknown: list[str] = []

        def value(found: re.Match[str]) -> str:
            name = found[1] or found[2]
            if name in self.names:
                return f"{OPENING} matrix.{name} }}}}"
            if name in self.dialect.outside:
                return f"{OPENING} {self.dialect.outside[name]} }}}}"
            unknown.append(name)
            return ""

        done = _NAME.sub(value, text)
        if unknown:
            keys.left(what, f"`{unknown[0]}` is known in scripts alone")
        return None if unknown else done

    def read_steps(self, keys: Keys, name: str) -> None:
        """A list of steps, or a mapping by their names."""
        found = _named(keys, name)
        has_graph = any("depends_on" in one for _, one in found)
        before: list[str] = []
        names: dict[str, str] = {}
        for called, one in found:
            step = StepDraft(name=self.draft.step_name(called), place=one.node.place)
            one = keys.ledger.open(one.node, step.notes)
            names[called] = step.name
            if one.boolean("detach"):
                self._service(one, called, step)
                continue
            self._step(one, step)
            if has_graph:
                step.depends_on = one.texts("depends_on")
            else:
                step.depends_on = list(before)
                if step.run_on != ["failure"]:
                    before = [*before, step.name] if step.run_on else [step.name]
            self.draft.steps.append(step)
        if has_graph:
            for step in self.draft.steps:
                self._resolve(step, names)
        self._share()
        if any(step.output_paths for step in self.draft.steps):
            keys.changed(name, _SHARED)

    def _resolve(self, step: StepDraft, names: Mapping[str, str]) -> None:
        """Their names as ours; a service or an unknown step is waited for by nobody."""
        known = {one.name for one in self.draft.steps}
        for one in step.depends_on:
            if names.get(one) not in known and one != "clone":
                why = f"there is no step `{one}` to wait for"
                self.draft.ledger.mark(step.place, "depends_on", Verdict.LEFT, why, step.notes)
        step.depends_on = [names[one] for one in step.depends_on if names.get(one) in known]

    def _share(self) -> None:
        needed = {name for step in self.draft.steps for name in step.depends_on}
        for step in self.draft.steps:
            if step.name in needed and step.is_script:
                step.output_paths = ["**"]
            step.matrix = dict(self.matrix)
            step.agents = dict(self.agents)
            step.git = self.git
            if step.is_script:
                step.services = dict(self.services)

    def _step(self, keys: Keys, step: StepDraft) -> None:
        keys.take("name")
        image = keys.text("image")
        filled = self.outside(keys, "image", image) if image else None
        step.image = filled or self.image
        keys.take("pull")
        for name, why in _LEFT.items():
            keys.left(name, why)
        if keys.boolean("privileged"):
            step.privileged = True
            if verdict_of("privileged") is Verdict.LEFT:
                keys.left("privileged", why_waiting("privileged"))
        self._condition(keys, step)
        step.allow_failure = keys.text("failure") == "ignore"
        step.user = keys.text("user")
        step.workdir = keys.text("directory")
        exports = self._environment(keys, step)
        if "settings" in keys and not keys.texts("commands"):
            self._plugin(keys, step, image or "")
            return
        commands = joined(keys.texts("commands")).replace("$$", "$")
        keys.left("settings", "a step with commands is no plugin")
        if not commands.strip():
            keys.changed("image", "what the image runs by itself is to be written as a script")
            commands = failing(f"what {image} runs by itself")
        self._script(keys, step, exports, commands)

    def _script(self, keys: Keys, step: StepDraft, exports: str, commands: str) -> None:
        dialect = self.dialect
        own = "".join(exported(n, f"$PUSHROD_MATRIX_{n.upper()}") for n in sorted(self.names))
        whole = exports + commands
        known = with_variables(whole, dialect.variables, step.env)
        missing = unknown_variables(
            whole, dialect.theirs, [*dialect.variables, *step.env, *self.names]
        )
        if missing:
            why = f"nothing here is like {', '.join(missing)}"
            keys.at(keys.node, "commands", Verdict.LEFT, why)
        step.script = known + own + exports + commands

    def _environment(self, keys: Keys, step: StepDraft) -> str:
        """Fills `env` and `secrets`; lines for what these can't hold."""
        lines = ""
        for name, node in _pairs(keys, "environment"):
            secret = secret_of(keys, node)
            text = text_of(node)
            if secret is not None:
                step.secrets.append(secret)
                lines += exported(name, f"${secret}") if secret != name else ""
            elif text is not None and "$" in text:
                lines += exported(name, kept_expansions(text))
            elif isinstance(node, ScalarNode):
                step.env[name] = text or ""
        for item in keys.items("secrets", ScalarNode):
            if isinstance(item, ScalarNode):
                step.secrets.append(re.sub(r"\W", "_", item.text.upper()))
            elif isinstance(item, MapNode):
                inner = keys.ledger.open(item, keys.notes)
                source = re.sub(r"\W", "_", inner.text("source") or "")
                target = inner.text("target")
                if source:
                    step.secrets.append(source)
                    lines += exported(target.upper(), f"${source}") if target else ""
        step.env = {name: text for name, text in step.env.items() if name not in step.secrets}
        return lines

    def _plugin(self, keys: Keys, step: StepDraft, image: str) -> None:
        """An image that is a program with settings: a few are known."""
        settings = keys.map("settings")
        build = None if settings is None else image_of(image, settings, self.outside)
        if build is not None:
            step.build, step.env = build, {}
            return
        keys.left("settings", f"pushrod has no plugins: write what {image} does as a script")
        step.script = failing(f"the plugin {image}")

    def _service(self, keys: Keys, name: str, step: StepDraft) -> None:
        """Beside all steps, as long as the pipeline runs."""
        keys.take("name")
        service: dict[str, Value] = {}
        image = keys.text("image") or ""
        service["image"] = self.outside(keys, "image", image) or image
        env = {key: text_of(node) or "" for key, node in _pairs(keys, "environment")}
        if env:
            service["env"] = dict(env)
        words, lines = keys.texts("command"), keys.texts("commands")
        if words or lines:
            service["command"] = list(words) or ["sh", "-c", joined(lines).strip()]
        if (ports := keys.texts("ports")) and ports[0].isdigit():
            service["ready"] = {"tcp": int(ports[0])}
            if len(ports) > 1:
                keys.changed("ports", "all are reached; it counts as ready once the first is")
        for key, why in _LEFT.items():
            keys.left(key, why)
        keys.take("pull")
        if keys.boolean("privileged"):
            service["privileged"] = True
        self.services[service_name(name)] = service
        if verdict_of("services") is Verdict.LEFT:
            keys.ledger.mark(
                keys.node.place, name, Verdict.LEFT, why_waiting("services"), self.draft.notes
            )

    def read_services(self, keys: Keys) -> None:
        for name, one in _named(keys, "services"):
            self._service(one, name, StepDraft(name=name, place=one.node.place))

    def _condition(self, keys: Keys, step: StepDraft) -> None:
        when, run_on = condition_of(keys, "when")
        step.when = all_of([one for one in (self.when, when) if one is not None])
        step.run_on = run_on


def _named(keys: Keys, name: str) -> list[tuple[str, Keys]]:
    """Mappings with a `name`, or by their names."""
    found: list[tuple[str, Keys]] = []
    if isinstance(keys.peek(name), MapNode):
        inner = keys.map(name)
        for one in () if inner is None else inner.names:
            step = inner.map(one) if inner is not None else None
            if step is not None:
                found.append((one, step))
        return found
    for item in keys.items(name):
        if isinstance(item, MapNode):
            step = keys.ledger.open(item, keys.notes)
            called = text_of(step.peek("name")) or f"step {len(found) + 1}"
            found.append((called, step))
    return found


def _pairs(keys: Keys, name: str) -> list[tuple[str, Node]]:
    """Of a mapping, or of a list of `A=b`."""
    if isinstance(keys.peek(name), MapNode):
        inner = keys.map(name)
        found: list[tuple[str, Node]] = []
        for key in () if inner is None else inner.names:
            node = inner.peek(key) if inner is not None else None
            if node is not None and inner is not None:
                if not isinstance(node, MapNode):
                    inner.take(key)
                else:
                    inner.map(key)
                found.append((key, node))
        return found
    pairs: list[tuple[str, Node]] = []
    for item in keys.items(name, ScalarNode):
        if isinstance(item, ScalarNode):
            key, _, value = item.text.partition("=")
            pairs.append((key, ScalarNode(value, item.kind, item.place)))
    return pairs


def secret_of(keys: Keys, node: Node) -> str | None:
    """The name in `{from_secret: name}`."""
    if not isinstance(node, MapNode):
        return None
    found = keys.ledger.open(node, keys.notes).text("from_secret")
    return re.sub(r"\W", "_", found) if found else None
