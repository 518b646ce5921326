"""How long outputs stay that say so themselves: a `keep` beside a path of `outputPaths`.

What a path names is named as agents take it: through the links on its way as well, which they keep
beside what these lead to.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from fnmatch import fnmatchcase
from pathlib import PurePosixPath

from coordinator.domain.model import GoneOutput, Step
from coordinator.domain.results.file_choice import is_named_by

ANY_DEPTH = "**"
MAX_SPELLINGS = 100
"""Of one path, through links."""

Names = tuple[str, ...]


def keeps_of(steps: Iterable[Step]) -> tuple[int, ...]:
    """In seconds, each once, the shortest first."""
    return tuple(sorted({keep for step in steps for keep in step.written.output_keeps.values()}))


@dataclass(frozen=True, slots=True)
class Kept:
    path: str
    """As the step's `outputPaths` has it, without a closing `/`."""
    seconds: int


class KeptPaths:
    """Of one step, whose links are known."""

    def __init__(self, keeps: Mapping[str, int], links: Mapping[str, str]) -> None:
        """`links`: name → target, as they were left."""
        self._spelt: list[tuple[Kept, frozenset[str], frozenset[str]]] = []
        for path, seconds in keeps.items():
            spellings, followed = _spellings(path, links)
            kept = Kept(path.rstrip("/"), seconds)
            self._spelt.append((kept, frozenset(spellings), frozenset(followed)))
        # What several paths name is kept as long as the longest of them says.
        self._spelt.sort(key=lambda one: -one[0].seconds)

    def of(self, name: str) -> Kept | None:
        """None: the project's limits say it."""
        for kept, spellings, followed in self._spelt:
            if name in followed or any(is_named_by(one, name) for one in spellings):
                return kept
        return None


def _spellings(path: str, links: Mapping[str, str]) -> tuple[set[str], set[str]]:
    """The path, and what it is behind the links on its way; with the names of these links."""
    spellings, followed = set[str](), set[str]()
    todo = [PurePosixPath(path.rstrip("/")).parts]
    while todo and len(spellings) < MAX_SPELLINGS:
        names = todo.pop()
        spelling = "/".join(names)
        if spelling in spellings:
            continue
        spellings.add(spelling)
        for link, behind in _through(names, links):
            followed.add(link)
            todo.append(behind)
    return spellings, followed


def _through(names: Names, links: Mapping[str, str]) -> Iterator[tuple[str, Names]]:
    """Each link that the names lead to or through, and the names behind it."""
    fixed = names[: names.index(ANY_DEPTH)] if ANY_DEPTH in names else names
    for link, target in links.items():
        its = tuple(link.split("/"))
        if len(its) > len(fixed) or not all(map(fnmatchcase, its, fixed)):
            continue
        behind = _followed(its[:-1], target)
        if behind is not None:
            yield link, (*behind, *names[len(its) :])


def _followed(folder: Names, target: str) -> Names | None:
    """None where it leads out of the workspace."""
    path = PurePosixPath(target)
    if path.is_absolute():
        if not path.is_relative_to("/workspace"):
            return None
        path, folder = path.relative_to("/workspace"), ()
    at = list(folder)
    for name in path.parts:
        if name != "..":
            at.append(name)
        elif not at:
            return None
        else:
            at.pop()
    return tuple(at)


def gone_words(gone: GoneOutput) -> str:
    """For people."""
    return (
        f"{gone.path} was deleted on {gone.gone_at:%Y-%m-%d}: it was to be kept for "
        f"{_duration(gone.seconds)} (`keep`)"
    )


def _duration(seconds: int) -> str:
    left, words = timedelta(seconds=seconds), []
    for unit, size in (("d", 86400), ("h", 3600), ("m", 60), ("s", 1)):
        count, rest = divmod(int(left.total_seconds()), size)
        left = timedelta(seconds=rest)
        words += [f"{count}{unit}"] if count else []
    return "".join(words)
