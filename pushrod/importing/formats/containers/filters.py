"""When a container's step runs: filters of events, branches and files → conditions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from pipelines_schema.nodes import ListNode, MapNode, Node
from pushrod.importing.draft import EVERY_TAG, Value, WorkflowDraft, all_of, either
from pushrod.importing.ledger import Keys
from pushrod.importing.node_texts import truth
from pushrod.importing.patterns import changed, matches, one_of, text

EVENTS: Mapping[str, str] = {
    "push": "push",
    "pull_request": "pullRequest",
    "tag": "tag",
    "release": "tag",
    "cron": "schedule",
    "manual": "manual",
    "custom": "manual",
    "deployment": "manual",
    "promote": "manual",
}
_IN_TRIGGERS = frozenset({"event", "branch", "repo", "instance", "path"})
_BRANCH_OF_PULL_REQUEST = (
    "of a pull request it was the branch to be merged into, which conditions don't know: "
)


def condition_of(keys: Keys, name: str) -> tuple[str | None, list[str]]:
    """What a `when` says: a mapping, or a list of which one must hold."""
    if isinstance(keys.peek(name), ListNode):
        found: list[str] = []
        run_on: list[str] = []
        for item in keys.items(name):
            if isinstance(item, MapNode):
                one, ends = _filters(keys.ledger.open(item, keys.notes))
                found.append(one or "true")
                run_on = run_on or ends
        return either(found), run_on
    inner = keys.map(name)
    return (None, []) if inner is None else _filters(inner)


def _filters(keys: Keys) -> tuple[str | None, list[str]]:
    """Each filter must hold."""
    tests: list[str | None] = []
    events = _list(keys, "event")
    tests.append(_events(keys, events))
    branches = _list(keys, "branch")
    if any(branches):
        branch = _patterns("branch", branches)
        if events[0] and "pull_request" not in events[0]:
            tests.append(branch)
        elif "pull_request" in events[0]:
            keys.changed("branch", _BRANCH_OF_PULL_REQUEST + "it is not asked of one")
            tests.append(either(['event == "pullRequest"', branch or "true"]))
        else:
            keys.changed("branch", _BRANCH_OF_PULL_REQUEST + "this doesn't run for one")
            tests.append(all_of(['event != "pullRequest"', branch or "true"]))
    for name, variable in (("ref", "ref"), ("tag", "tag")):
        if one := _patterns(variable, _list(keys, name)):
            tests.append(one)
    paths = _paths(keys)
    if paths:
        tests.append(changed(paths))
    status = _list(keys, "status")[0]
    if odd := [one for one in status if one not in ("success", "failure")]:
        keys.changed("status", f"`{odd[0]}` never happens here")
    run_on: list[str] = [one for one in ("success", "failure") if one in status]
    matrix = keys.variables("matrix")
    tests += [f"matrix.{key} == {text(value)}" for key, value in matrix.items()]
    for name in ("repo", "instance", "platform"):
        if name in keys:
            keys.changed(name, "there is one repository and one server here: it always holds")
    for name in ("cron", "target", "evaluate", "local", "action"):
        if name in keys:
            keys.left(name, "there is no equal: the step does not run until `when` says when")
            tests.append("false")
    if run_on == ["success"]:
        run_on = []
    return all_of([one for one in tests if one]), run_on


def _list(keys: Keys, name: str) -> tuple[list[str], list[str]]:
    """What is included, and what is excluded."""
    if isinstance(keys.peek(name), MapNode):
        inner = keys.map(name)
        return ([], []) if inner is None else (inner.texts("include"), inner.texts("exclude"))
    return keys.texts(name), []


def _patterns(variable: str, lists: tuple[list[str], list[str]]) -> str | None:
    tests: list[str] = []
    if lists[0]:
        tests.append(either([matches(variable, one) for one in lists[0]]) or "true")
    tests += [matches(variable, f"!{one}") for one in lists[1]]
    return all_of(tests)


def _events(keys: Keys, lists: tuple[list[str], list[str]]) -> str | None:
    unknown = [one for one in (*lists[0], *lists[1]) if one not in EVENTS]
    if unknown:
        keys.changed("event", f"`{unknown[0]}` never happens here")
    tests: list[str] = []
    if lists[0]:
        known = list(dict.fromkeys(EVENTS[one] for one in lists[0] if one in EVENTS))
        tests.append(one_of("event", known) if known else "false")
    tests += [f'event != "{EVENTS[one]}"' for one in lists[1] if one in EVENTS]
    return all_of(tests)


def _paths(keys: Keys) -> Sequence[str]:
    if not isinstance(keys.peek("path"), MapNode):
        return keys.texts("path")
    inner = keys.map("path")
    if inner is None:
        return []
    inner.left("ignore_message", "`[skip ci]` alone is known in messages")
    empty = inner.peek("on_empty")
    if empty is not None and truth(empty) is False:
        inner.changed("on_empty", "where nothing can be compared, it holds")
    inner.take("on_empty")
    return inner.texts("include") + [f"!{one}" for one in inner.texts("exclude")]


def triggers(keys: Keys, name: str, draft: WorkflowDraft) -> str | None:
    """Fills `on` from the filters of a whole pipeline; what is left of them, as a condition."""
    everything: dict[str, Value] = {"push": {}, "tag": [EVERY_TAG], "pullRequest": {}, "manual": {}}
    if name not in keys:
        draft.on = everything
        return None
    when, _ = condition_of(keys, name)
    node = keys.peek(name)
    maps = [one for one in _items(node) if isinstance(one, MapNode)]
    # All of them, not only up to the first that says more than triggers can.
    exact = [_add_triggers(keys.ledger.open(one, keys.notes), draft) for one in maps]
    if not draft.on:
        draft.on["manual"] = {}
    return None if all(exact) else when


def _items(node: Node | None) -> tuple[Node, ...]:
    if node is None:
        return ()
    return node.items if isinstance(node, ListNode) else (node,)


def _add_triggers(keys: Keys, draft: WorkflowDraft) -> bool:
    """Whether the triggers say all that the filters do."""
    included, excluded = _list(keys, "event")
    wanted = included or ["push", "tag", "pull_request", "manual"]
    events = {EVENTS[one] for one in wanted if one in EVENTS and one not in excluded}
    take, leave = _list(keys, "branch")
    branches = take + [f"!{one}" for one in leave]
    paths = _paths(keys)
    lists = {"branches": branches, "paths": list(paths)}
    filtered: dict[str, Value] = {name: list(one) for name, one in lists.items() if one}
    exact = {key.text for key, _ in keys.node.entries} <= _IN_TRIGGERS
    for event in ("push", "pullRequest"):
        if event in events and event not in draft.on:
            draft.on[event] = dict(filtered)
        elif event in events and draft.on[event] != filtered:
            draft.on[event] = {}
            exact = False
    if "tag" in events:
        draft.on["tag"] = [EVERY_TAG]
    if "manual" in events:
        draft.on["manual"] = {}
    if "schedule" in events:
        keys.changed("event", "its times stand in the server's settings: write `on.schedule`")
    return exact
