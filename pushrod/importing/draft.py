"""What every format is turned into: workflows, before they are written."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TypeAlias

from pipelines_schema.limits import MAX_NAME_CHARACTERS
from pipelines_schema.problem import Place
from pushrod.importing.ledger import Ledger, Notes

Value: TypeAlias = "str | int | bool | Sequence[Value] | Mapping[str, Value]"
"""What may stand behind a key of a workflow."""

NEVER = "false"
"""A condition under which nothing runs: where the source's own could not be carried over."""


EVERY_TAG = "**"


@dataclass(slots=True, kw_only=True)
class StepDraft:
    """A step; what is empty or None is not written."""

    name: str
    place: Place
    """Of what it comes from."""
    notes: Notes = field(default_factory=list)
    image: str | None = None
    script: str = ""
    build: dict[str, Value] | None = None
    approve: dict[str, Value] | None = None
    depends_on: list[str] = field(default_factory=list)
    matrix: dict[str, Value] = field(default_factory=dict)
    when: str | None = None
    run_on: list[str] = field(default_factory=list)
    env: dict[str, str] = field(default_factory=dict)
    secrets: list[str] = field(default_factory=list)
    services: dict[str, Value] = field(default_factory=dict)
    agents: dict[str, str] = field(default_factory=dict)
    workdir: str | None = None
    shell: str | None = None
    user: str | None = None
    git: Value | None = None
    cache_dirs: list[Value] = field(default_factory=list)
    output_paths: list[Value] = field(default_factory=list)
    reports: dict[str, Value] = field(default_factory=dict)
    timeout: str | None = None
    retries: Value | None = None
    allow_failure: bool = False
    concurrency: Value | None = None
    resources: dict[str, Value] = field(default_factory=dict)
    privileged: bool = False
    is_left_out: bool = False
    """It stands there only to be read: nothing waits for it."""
    dropped: set[str] = field(default_factory=set)
    """Keys that the language refuses as they are."""

    def fields(self) -> dict[str, Value | None]:
        """In the order in which they are written."""
        mode: dict[str, Value | None] = {"approve": self.approve, "build": self.build}
        own: dict[str, Value | None] = {
            "image": self.image,
            "dependsOn": self.depends_on,
            "matrix": self.matrix,
            "when": self.when,
            "runOn": self.run_on if self.depends_on else [],
            "agents": self.agents,
            "services": self.services,
            "secrets": list(dict.fromkeys(self.secrets)),
            "env": self.env,
            "git": self.git,
            "workdir": self.workdir,
            "shell": self.shell,
            "user": self.user,
            "cacheDirs": list(self.cache_dirs),
            "outputPaths": list(self.output_paths),
            "reports": self.reports,
            "timeout": self.timeout,
            "retries": self.retries,
            "allowFailure": self.allow_failure or None,
            "concurrency": self.concurrency,
            "resources": self.resources,
            "privileged": self.privileged or None,
            **{key: value for key, value in mode.items() if value is not None},
            "run": self.script if self.is_script else None,
        }
        allowed = _GATE_KEYS if self.approve is not None else _BUILD_KEYS
        return {
            key: value
            for key, value in own.items()
            if (self.is_script or key in allowed) and key not in self.dropped
        }

    @property
    def is_script(self) -> bool:
        return self.build is None and self.approve is None


_GATE_KEYS = frozenset({"dependsOn", "when", "runOn", "allowFailure", "approve"})
_BUILD_KEYS = (_GATE_KEYS - {"approve"}) | {
    *("build", "matrix", "agents", "secrets", "timeout", "retries", "concurrency"),
}


@dataclass(slots=True, kw_only=True)
class WorkflowDraft:
    """One workflow, from the file that `ledger` is of."""

    name: str
    ledger: Ledger
    place: Place
    notes: Notes = field(default_factory=list)
    on: dict[str, Value] = field(default_factory=dict)
    env: dict[str, str] = field(default_factory=dict)
    concurrency: Value | None = None
    fail_fast: bool = False
    timeout: str | None = None
    steps: list[StepDraft] = field(default_factory=list)
    further: list[Ledger] = field(default_factory=list)
    """Of further files that are in it."""
    after: list[str] = field(default_factory=list)
    """Other workflows that come first."""
    skips_alone: bool = False
    """Whether a step that is left out takes none of those with it that come behind it."""
    dropped: set[str] = field(default_factory=set)

    def fields(self) -> dict[str, Value | None]:
        own: dict[str, Value | None] = {
            "on": self.on or None,
            "env": self.env,
            "concurrency": self.concurrency,
            "failFast": self.fail_fast or None,
            "timeout": self.timeout,
        }
        return {key: value for key, value in own.items() if key not in self.dropped}

    def step_name(self, wanted: str) -> str:
        """The name, made fit for a step and unlike those that there are."""
        return free_name(wanted, {step.name for step in self.steps})


def free_name(wanted: str, taken: set[str]) -> str:
    """One line without `/`, which no other has."""
    words = " ".join(wanted.replace("/", "-").split())
    plain = "".join(one for one in words if one.isprintable())[: MAX_NAME_CHARACTERS - 5]
    plain = plain.replace("${{", "").strip().strip("*").strip() or "step"
    count = 1
    name = plain
    while name in taken:
        count += 1
        name = f"{plain} {count}"
    return name


def gate_before(step: StepDraft, name: str, message: str) -> StepDraft:
    """A gate that asks before the step, which depends on it from now on."""
    gate = StepDraft(
        name=name,
        place=step.place,
        approve={"message": message},
        depends_on=list(step.depends_on),
        when=step.when,
        run_on=list(step.run_on),
    )
    step.depends_on = [*step.depends_on, name]
    return gate


def renamed(steps: Sequence[StepDraft], names: Mapping[str, str]) -> list[StepDraft]:
    """The steps with other names, also where they depend on each other."""
    return [
        replace(
            step,
            name=names.get(step.name, step.name),
            depends_on=[names.get(one, one) for one in step.depends_on],
        )
        for step in steps
    ]


TRUE = "true"


def both(first: str | None, second: str | None) -> str | None:
    """Two conditions that must hold; None where nothing is asked."""
    return all_of([one for one in (first, second) if one is not None])


def all_of(conditions: Sequence[str]) -> str | None:
    """All of the conditions must hold; None where nothing is asked."""
    asked = list(dict.fromkeys(one for one in conditions if one != TRUE))
    if NEVER in asked:
        return NEVER
    if len(asked) < 2:
        return asked[0] if asked else None
    return " && ".join(f"({one})" if _has_loose(one, ("||", "?")) else one for one in asked)


def either(conditions: Sequence[str]) -> str | None:
    """One of the conditions must hold; None where nothing is asked."""
    asked = list(dict.fromkeys(one for one in conditions if one != NEVER))
    if not asked and conditions:
        return NEVER
    if TRUE in asked or not asked:
        return None
    return " || ".join(f"({one})" if _has_loose(one, ("?",)) else one for one in asked)


def negated(condition: str | None) -> str:
    """The condition must not hold; None always holds."""
    if condition is None or condition == TRUE:
        return NEVER
    return TRUE if condition == NEVER else f"!({condition})"


def _has_loose(condition: str, signs: tuple[str, ...]) -> bool:
    """Whether one of the signs stands outside of texts and parentheses."""
    plain = re.sub(r'"(?:[^"\\]|\\.)*"', "", condition)
    while (shorter := re.sub(r"\([^()]*\)", "", plain)) != plain:
        plain = shorter
    return any(sign in plain for sign in signs)
