"""`on` of a GitHub workflow."""

from __future__ import annotations

from pipelines_schema.nodes import ListNode, MapNode, ScalarNode
from pushrod.importing.draft import EVERY_TAG, Value, WorkflowDraft
from pushrod.importing.ledger import Keys, Verdict, spot_of
from pushrod.importing.node_texts import text_of

_NONE = {
    "workflow_call": "pushrod calls no workflow from another; share `templates` by `include`",
    "workflow_run": "pushrod starts no build by another's end yet (`on.build`)",
    "merge_group": "pushrod has no merge queue",
}
_CHANGED = {
    "pull_request_target": (
        "pull requests of forks wait for approval and get no secrets, whatever the workflow says"
    ),
    "release": "pushrod knows no releases: their tag starts a build",
    "create": "a new branch or tag builds as any push of it",
    "repository_dispatch": "builds are started by `pushrod build create` or the API",
}
_USUAL = {"opened", "synchronize", "reopened"}


def read_triggers(keys: Keys, draft: WorkflowDraft) -> frozenset[str]:
    """Fills `on`; the inputs that have a list of choices."""
    node = keys.peek("on")
    if isinstance(node, MapNode):
        events = keys.map("on")
        return _of_mapping(events, draft) if events is not None else frozenset()
    for one in node.items if isinstance(node, ListNode) else (node,):
        if isinstance(one, ScalarNode):
            _add_event(keys, one, one.text, draft)
    keys.take("on")
    if not draft.on:
        draft.on["manual"] = {}
    return frozenset()


def _add_event(keys: Keys, place: ScalarNode, event: str, draft: WorkflowDraft) -> None:
    """An event without more."""
    if event in _CHANGED:
        keys.at(place, event, Verdict.CHANGED, _CHANGED[event])
    match event:
        case "push" | "create":
            draft.on["push"], draft.on["tag"] = {}, [EVERY_TAG]
        case "pull_request" | "pull_request_target":
            draft.on.setdefault("pullRequest", {})
        case "workflow_dispatch" | "repository_dispatch":
            draft.on.setdefault("manual", {})
        case "release":
            draft.on.setdefault("tag", [EVERY_TAG])
        case _:
            why = _NONE.get(event, "pushrod doesn't know such an event")
            keys.at(place, event, Verdict.LEFT, why)


def _of_mapping(events: Keys, draft: WorkflowDraft) -> frozenset[str]:
    choices: frozenset[str] = frozenset()
    for key, value in events.node.entries:
        event = key.text
        match event:
            case "push" if isinstance(value, MapNode):
                _push(events, draft)
            case "pull_request" | "pull_request_target" if isinstance(value, MapNode):
                _pull_request(events, event, draft)
            case "workflow_dispatch" if isinstance(value, MapNode):
                choices = _manual(events, draft)
            case "schedule":
                _schedule(events, draft)
            case _ if event in _NONE:
                events.left(event, _NONE[event])
            case _:
                _add_event(events, key, event, draft)
                if spot_of(key.place) not in events.ledger.verdicts:
                    events.take(event)
                elif isinstance(value, MapNode) and (inner := events.map(event)):
                    inner.changed("types", "builds start at the tag, whatever becomes of a release")
    if not draft.on:
        draft.on["manual"] = {}
    return choices


def _push(events: Keys, draft: WorkflowDraft) -> None:
    push = events.map("push")
    if push is None:
        return
    branches = push.texts("branches") + _without(push, "branches-ignore")
    tags = push.texts("tags") + _without(push, "tags-ignore")
    paths = push.texts("paths") + _without(push, "paths-ignore")
    if branches or not tags:
        draft.on["push"] = _present(branches=branches, paths=paths)
    if tags or not branches:
        draft.on["tag"] = list(tags) or [EVERY_TAG]
        if paths:
            push.changed("paths", "pushrod asks no paths of a tag: each builds")


def _without(keys: Keys, name: str) -> list[str]:
    return [f"!{one}" for one in keys.texts(name)]


def _present(**lists: list[str]) -> dict[str, Value]:
    return {name: list(values) for name, values in lists.items() if values}


def _pull_request(events: Keys, event: str, draft: WorkflowDraft) -> None:
    keys = events.map(event)
    if keys is None:
        return
    if event in _CHANGED:
        events.ledger.mark(
            events.place(event), event, Verdict.CHANGED, _CHANGED[event], events.notes
        )
    branches = keys.texts("branches") + _without(keys, "branches-ignore")
    paths = keys.texts("paths") + _without(keys, "paths-ignore")
    types = set(keys.texts("types"))
    if types and not types <= _USUAL | {"ready_for_review"}:
        keys.changed(
            "types",
            "pushrod builds what is opened, reopened or pushed to, and a label where `labels` "
            "asks for one",
        )
    draft.on.setdefault("pullRequest", _present(branches=branches, paths=paths))


def _schedule(events: Keys, draft: WorkflowDraft) -> None:
    found: list[Value] = []
    for item in events.items("schedule"):
        if isinstance(item, MapNode):
            keys = events.ledger.open(item, draft.notes)
            cron = keys.text("cron")
            zone = keys.text("timezone")
            if cron:
                found.append({"cron": cron, "timezone": zone} if zone else {"cron": cron})
    if found:
        draft.on["schedule"] = found


def _manual(events: Keys, draft: WorkflowDraft) -> frozenset[str]:
    keys = events.map("workflow_dispatch")
    inputs = None if keys is None else keys.map("inputs")
    params: dict[str, Value] = {}
    choices: set[str] = set()
    for name in () if inputs is None else inputs.names:
        one = inputs.map(name) if inputs is not None else None
        params[name] = {} if one is None else _param(one)
        if isinstance(value := params[name], dict) and "oneOf" in value:
            choices.add(name)
    draft.on["manual"] = {"params": params} if params else {}
    return frozenset(choices)


def _param(keys: Keys) -> dict[str, Value]:
    for name in ("description", "required"):
        keys.take(name)
    default = text_of(keys.take("default"))
    kind = keys.text("type") or "string"
    options: list[str] = keys.texts("options")
    if kind == "boolean":
        options = ["true", "false"]
        default = default or "false"
    if kind == "environment":
        keys.changed("type", "pushrod has no environments: any text may be given")
    param: dict[str, Value] = {}
    if default is not None:
        param["default"] = default
    if options:
        param["oneOf"] = list(options)
    elif default is None:
        param["default"] = ""
    return param
