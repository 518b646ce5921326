"""Which image a tag means to a step: what the steps before it pushed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from operator import itemgetter

from coordinator.domain.model import Step
from pipelines_schema.image_references import whole_tag


def pushed_before(step: Step, steps: Sequence[Step]) -> Mapping[str, str]:
    """Tag → digest of what the steps pushed that it depends on, whatever is between them.

    Of two that pushed one tag, the one that ended last.
    """
    named = {other.name: other for other in steps}
    before: set[str] = set()
    waiting = list(step.depends_on)
    while waiting:
        name = waiting.pop()
        if name not in before:
            before.add(name)
            waiting += named[name].depends_on
    pushed = [
        (other.finished_at, image)
        for other in map(named.__getitem__, before)
        if other.finished_at is not None
        for image in other.images or ()
    ]
    return {
        whole_tag(image["reference"]) or image["reference"]: image["digest"]
        for _, image in sorted(pushed, key=itemgetter(0))
    }
