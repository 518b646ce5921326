"""`${{ … }}` outside scripts: what may stand in an image, a build's tags, labels of agents, the
group of `concurrency` and the values of `with`. Pure.

Nothing of it ever becomes part of a script. What outsiders name (a branch, a tag) is made safe for
the place it stands in: in a reference it is part of the tag, never of the repository.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from pipelines_schema.cel_outputs import OUTPUTS, OutputName, output_word
from pipelines_schema.expressions import BUILD_WORDS, OPENING, expressions, substituted
from pipelines_schema.image_references import MAX_TAG_CHARACTERS, fit_for_tag

OUTSIDERS = ("branch", "tag", "ref")
"""Whoever pushes names them, and a build may lack one."""
PLACE_WORDS = (*BUILD_WORDS, *OUTSIDERS, "shortSha")
ENV = "env."


def env_words(env: Mapping[str, str]) -> dict[str, str]:
    """The variables of a workflow or step by the words that stand for them."""
    return {ENV + name: value for name, value in env.items()}


def misplaced(reference: str) -> str | None:
    """The word of outsiders that stands in the reference before its last `:`, if there is one."""
    head, tag = _parts(reference)
    is_tag = "/" not in tag and "@" not in head
    return next(_outsiders(head if is_tag else reference), None)


def only_in_a_tag(label: str, word: str) -> str:
    """For people: what is wrong where a word is `misplaced`."""
    return (
        f"`{word}` may stand in {label} only after its last `:`, for "
        f"{'a script writes' if _is_output(word) else 'whoever pushes names'} it: "
        f"write `name:${{{{ {word} }}}}`"
    )


def filled_image(image: str, values: Mapping[str, str]) -> str:
    """The image with the expressions that have a value replaced."""
    if OPENING not in image:
        return image
    head, tag = _parts(image)
    if next(_outsiders(tag), None) is None or is_whole_output(image):
        return substituted(image, values)
    return f"{substituted(head, values)}:{_filled_tag(tag, values)}"


def filled_reference(reference: str, values: Mapping[str, str]) -> str:
    """A reference to push to, filled in; only `env`, which the workflow spells out, can change its
    repository: no other value adds a `/`, `:` or `@`, whatever it holds."""
    if OPENING not in reference:
        return reference
    fitting = {
        name: value if name.startswith(ENV) else fit_for_tag(value)
        for name, value in values.items()
    }
    head, tag = _parts(reference)
    if not head:
        return substituted(reference, fitting)
    return f"{substituted(head, fitting)}:{_filled_tag(tag, values)}"


def empty_word(reference: str, values: Mapping[str, str]) -> str | None:
    """The word whose value is empty, so that the reference means nothing; None if it means one.

    A build that has no branch lacks what the workflow wanted to see there; an empty variable is
    missed only where nothing else is left.
    """
    empty = [word for _, word in expressions(reference) if values.get(word) == ""]
    if not empty:
        return None
    filled = substituted(reference, values)
    if not filled or filled.startswith(("/", ":")) or filled.endswith((":", "/")):
        return empty[0]
    return next((word for word in empty if word in OUTSIDERS or _is_output(word)), None)


def output_words(texts: Iterable[str]) -> dict[str, OutputName]:
    """The words of the texts' `${{ … }}` that name outputs of steps, and which."""
    words = (word for text in texts if OUTPUTS in text for _, word in expressions(text))
    found = ((word, output_word(word)) for word in words)
    return {word: name for word, name in found if name is not None}


def is_whole_output(text: str) -> bool:
    """Whether it is an output and nothing else."""
    inside = text.strip().removeprefix(OPENING).removesuffix("}}")
    return len(inside) + 5 == len(text.strip()) and output_word(inside.strip()) is not None


def _is_output(word: str) -> bool:
    return output_word(word) is not None


def _parts(reference: str) -> tuple[str, str]:
    """Before and after the last `:`; all of it is after where there is none."""
    head, _, tag = reference.rpartition(":")
    return head, tag


def _outsiders(text: str) -> Iterator[str]:
    return (word for _, word in expressions(text) if word in OUTSIDERS or _is_output(word))


def _filled_tag(tag: str, values: Mapping[str, str]) -> str:
    """Of what is too long, the outsiders' words are cut: a sha behind them stays whole."""
    fitting = {name: fit_for_tag(value) for name, value in values.items()}
    named = [word for word in _outsiders(tag) if word in fitting]
    if not named:
        return substituted(tag, fitting)
    room = MAX_TAG_CHARACTERS - len(substituted(tag, fitting | dict.fromkeys(named, "")))
    for word in named:
        fitting[word] = fitting[word][: max(room, 0)]
        room -= len(fitting[word])
    filled = substituted(tag, fitting)[:MAX_TAG_CHARACTERS]
    return f"_{filled[1:]}" if filled.startswith((".", "-")) else filled
