"""What starts a build, as a workflow says it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pipelines_schema.build_triggers import BuildTrigger
from pipelines_schema.params import Param
from pipelines_schema.schedules import ScheduleTrigger
from pipelines_schema.stored_json import listed, texts, without_absent


@dataclass(frozen=True, slots=True, kw_only=True)
class PushTrigger:
    branches: tuple[str, ...] | None = None
    """Patterns; None is every branch."""
    paths: tuple[str, ...] | None = None
    """Patterns of which some changed file must match one; None is whatever changed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PullRequestTrigger:
    branches: tuple[str, ...] | None = None
    """Patterns of the branch to be merged into; None is every branch."""
    paths: tuple[str, ...] | None = None
    """As those of a push; what differs from the merge base counts as changed."""
    labels: tuple[str, ...] | None = None
    """Of which it must have one; None is whatever it has."""
    drafts: bool = True
    """Whether drafts start the workflow, too."""
    also_push: bool = False
    """A commit that is pushed, too, has a build for each."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TagTrigger:
    patterns: tuple[str, ...] | None = None
    """None is every tag."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ManualTrigger:
    params: tuple[Param, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Triggers:
    push: PushTrigger | None = None
    """None: no push starts the workflow."""
    pull_request: PullRequestTrigger | None = None
    """None: no pull request starts the workflow."""
    tag: TagTrigger | None = None
    """None: no tag starts the workflow."""
    manual: ManualTrigger | None = None
    schedule: tuple[ScheduleTrigger, ...] = ()
    build: tuple[BuildTrigger, ...] = ()

    @property
    def params(self) -> tuple[Param, ...]:
        return () if self.manual is None else self.manual.params


def triggers_to_json(triggers: Triggers) -> dict[str, Any]:
    push, pull, tag = triggers.push, triggers.pull_request, triggers.tag
    return without_absent(
        push=None
        if push is None
        else without_absent(branches=listed(push.branches), paths=listed(push.paths)),
        pullRequest=None if pull is None else _pull_request_to_json(pull),
        tag=None if tag is None else without_absent(patterns=listed(tag.patterns)),
        manual=None
        if triggers.manual is None
        else {"params": [param.to_json() for param in triggers.params]},
        schedule=[one.to_json() for one in triggers.schedule] or None,
        build=[one.to_json() for one in triggers.build] or None,
    )


def _pull_request_to_json(pull: PullRequestTrigger) -> dict[str, Any]:
    return without_absent(
        branches=listed(pull.branches),
        paths=listed(pull.paths),
        labels=listed(pull.labels),
        drafts=None if pull.drafts else False,
        alsoPush=pull.also_push or None,
    )


def _pull_request_from_json(value: Mapping[str, Any]) -> PullRequestTrigger:
    return PullRequestTrigger(
        branches=texts(value, "branches"),
        paths=texts(value, "paths"),
        labels=texts(value, "labels"),
        drafts=value.get("drafts", True),
        also_push=value.get("alsoPush", False),
    )


def triggers_from_json(value: Mapping[str, Any]) -> Triggers:
    push, tag, manual = value.get("push"), value.get("tag"), value.get("manual")
    pull = value.get("pullRequest")
    return Triggers(
        push=None
        if push is None
        else PushTrigger(branches=texts(push, "branches"), paths=texts(push, "paths")),
        pull_request=None if pull is None else _pull_request_from_json(pull),
        tag=None if tag is None else TagTrigger(patterns=texts(tag, "patterns")),
        manual=None
        if manual is None
        else ManualTrigger(params=tuple(map(Param.from_json, manual["params"]))),
        schedule=tuple(map(ScheduleTrigger.from_json, value.get("schedule", ()))),
        build=tuple(map(BuildTrigger.from_json, value.get("build", ()))),
    )
