"""`notify` of a workflow, with every mistake noted."""

from __future__ import annotations

from pipelines_schema.fields import Field, Reading, Vocabulary
from pipelines_schema.limits import MAX_NAME_CHARACTERS, MAX_NOTIFIED
from pipelines_schema.nodes import Kind, ListNode, MapNode, ScalarNode, described
from pipelines_schema.notify import Notify, Occasion, email_problem
from pipelines_schema.problem import shown
from pipelines_schema.read_environment import secret_name_problem
from pipelines_schema.suggestions import closest

_NOTIFY = Vocabulary(
    where="an item of `notify`",
    known=("on", "email", "webhook"),
    synonyms={
        "when": "write `on`",
        "events": "write `on`",
        "mail": "write `email`",
        "to": "write `email`",
        "url": "write `webhook`, with the name of a secret that holds the address",
        "slack": "write `webhook`, with the name of a secret that holds the address",
        "secret": "write `webhook`, with the secret's name",
    },
)
_HINT = "write `[{on: [failed, fixed], email: [team@example.org]}]`"
_ON_HINT = "write `[failed, fixed]`"
_EMAIL_HINT = "write `[team@example.org]`"
_WEBHOOK_HINT = "write the name of a secret that holds the address"
_OTHER_WORDS = {"failure": "failed", "success": "succeeded", "approval": "waiting"}


def read_notify(reading: Reading, entry: Field | None) -> tuple[Notify, ...]:
    node = None if entry is None else reading.list(entry, _HINT)
    if entry is None or node is None:
        return ()
    if len(node.items) > MAX_NOTIFIED:
        said = f"has {len(node.items)} items: at most {MAX_NOTIFIED} are allowed"
        reading.add(entry.place, f"`notify` {said}")
        return ()
    found = []
    for item in node.items:
        if isinstance(item, MapNode):
            found.append(_item(reading, item))
        elif not (isinstance(item, ScalarNode) and item.kind is Kind.BROKEN):
            said = f"an item of `notify` must be a mapping, this is {described(item)}"
            reading.add(item.place, f"{said}: {_HINT}")
    return tuple(one for one in found if one is not None)


def _item(reading: Reading, node: MapNode) -> Notify | None:
    fields = reading.fields(node, _NOTIFY)
    if "on" not in fields:
        reading.add(node.place, f"an item of `notify` needs `on`: {_ON_HINT}")
    ways = [name for name in ("email", "webhook") if name in fields]
    if len(ways) != 1:
        needs = "either `email` or `webhook`, not both" if ways else "`email` or `webhook`"
        reading.add(node.place, f"an item of `notify` needs {needs}")
    on = _occasions(reading, fields.get("on"))
    email = _emails(reading, fields.get("email"))
    webhook = _webhook(reading, fields.get("webhook"))
    if not on or len(ways) != 1 or not (email or webhook):
        return None
    return Notify(on=on, email=email, webhook=webhook)


def _occasions(reading: Reading, entry: Field | None) -> tuple[Occasion, ...]:
    if entry is None:
        return ()
    words = [occasion.value for occasion in Occasion]
    found: dict[Occasion, None] = {}
    for place, text in reading.texts(entry, _ON_HINT, len(words), one_allowed=True):
        if text in words:
            found[Occasion(text)] = None
            continue
        near = _OTHER_WORDS.get(text) or closest(text, words)
        instead = f"did you mean `{near}`?" if near else f"write {_listed(words)}"
        reading.add(place, f"{shown(text)} is nothing to notify of: {instead}")
    _refuse_empty(reading, entry, _ON_HINT)
    return tuple(found)


def _emails(reading: Reading, entry: Field | None) -> tuple[str, ...]:
    if entry is None:
        return ()
    found: dict[str, None] = {}
    for place, text in reading.texts(entry, _EMAIL_HINT, MAX_NOTIFIED, one_allowed=True):
        fault = email_problem(text)
        if fault is None:
            found[text] = None
        else:
            reading.add(place, f"{shown(text)} {fault}")
    _refuse_empty(reading, entry, _EMAIL_HINT)
    return tuple(found)


def _webhook(reading: Reading, entry: Field | None) -> str | None:
    if entry is None:
        return None
    name = reading.line_of_text(entry, _WEBHOOK_HINT, MAX_NAME_CHARACTERS * 20)
    if name is None:
        return None
    if "://" in name:
        reading.add(
            entry.place,
            "`webhook` names a secret, for whoever has the address may write there: "
            "`pushrod secret set PROJECT CHAT_URL`, and write `webhook: CHAT_URL`",
        )
        return None
    fault = secret_name_problem(name)
    if fault is not None:
        reading.add(entry.place, f"the secret {shown(name)} {fault}")
        return None
    return name


def _refuse_empty(reading: Reading, entry: Field, hint: str) -> None:
    if isinstance(entry.value, ListNode) and not entry.value.items:
        reading.add(entry.place, f"{entry.label} is empty: {hint}")


def _listed(words: list[str]) -> str:
    return ", ".join(f"`{word}`" for word in words[:-1]) + f" or `{words[-1]}`"
