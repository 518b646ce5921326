"""Limits, retries and labels of a Buildkite step."""

from __future__ import annotations

import re

from pipelines_schema.nodes import ListNode, MapNode
from pushrod.importing.draft import StepDraft
from pushrod.importing.ledger import Keys


def read_agents(keys: Keys) -> dict[str, str]:
    if isinstance(keys.peek("agents"), ListNode):
        pairs = (text.partition("=") for text in keys.texts("agents"))
        found = {name: value for name, _, value in pairs}
    else:
        found = keys.variables("agents")
    if found:
        keys.changed("agents", "start an agent with these labels, `--label NAME=VALUE`")
    return {name: text for name, text in found.items() if text and "$" not in text}


def read_limits(keys: Keys, step: StepDraft) -> None:
    minutes = keys.number("timeout_in_minutes")
    step.timeout = f"{minutes}m" if minutes else None
    if isinstance(keys.peek("soft_fail"), ListNode):
        keys.changed("soft_fail", "each failure is allowed, whatever its exit code")
        step.allow_failure = True
        for item in keys.items("soft_fail"):
            if isinstance(item, MapNode):
                keys.ledger.open(item, keys.notes).take("exit_status")
    else:
        step.allow_failure = keys.boolean("soft_fail") or False
    retry = keys.map("retry")
    if retry is not None:
        _retry(retry, step)
    group = keys.text("concurrency_group")
    limit = keys.number("concurrency")
    if group:
        plain = re.sub(r"\$\{?\w+\}?", "", group).strip("/-") or "group"
        if plain != group:
            keys.changed("concurrency_group", "variables are left out of its name")
        step.concurrency = {"group": plain, "limit": limit} if limit and limit > 1 else plain
    keys.take("concurrency_method")
    keys.left("priority", "older builds come first")
    keys.left("notify", "write `notify` for the whole workflow")
    if keys.boolean("cancel_on_build_failing"):
        keys.changed("cancel_on_build_failing", "write `failFast` for the whole workflow")


def _retry(retry: Keys, step: StepDraft) -> None:
    retry.changed("manual", "anybody who may build may try a step again")
    if not isinstance(retry.peek("automatic"), MapNode | ListNode):
        step.retries = 2 if retry.boolean("automatic") else 0
        return
    causes: list[str] = []
    most = 0
    for item in retry.items("automatic"):
        if not isinstance(item, MapNode):
            continue
        one = retry.ledger.open(item, retry.notes)
        status = one.texts("exit_status") or ["*"]
        most = max(most, one.number("limit") or 2)
        for code in status:
            known = {
                "*": ["failed", "lost", "timeout"],
                "-1": ["lost"],
                "255": ["exit:255", "lost"],
            }
            causes += known.get(code, [f"exit:{code}"])
        for name in ("signal", "signal_reason"):
            one.changed(name, "what ended the script is not asked")
    step.retries = {"max": most, "on": list(dict.fromkeys(causes))} if most else 0
