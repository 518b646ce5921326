"""Which image is built in parts: by several agents, each for a platform of its own. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from coordinator.domain.model import Step
from pipelines_schema.contract import CompleteRequest, Completion


def may_split(step: Step) -> bool:
    """Whether its image can be built in parts: it is of several platforms, and no part itself."""
    build, definition = step.written.build, step.definition
    if build is None or definition.parts or definition.part_of is not None:
        return False
    return len(build.platforms) > 1


def is_to_be_split(step: Step, request: CompleteRequest) -> bool:
    """Whether a report asks for that. One that was asked to end has come to nothing."""
    asked = request.status is Completion.FAILED and bool(request.parts)
    return asked and may_split(step) and step.cancel_requested_by is None


def parts_built(step: Step, steps: Sequence[Step]) -> Mapping[str, str]:
    """Platform → reference with digest of the parts that the step joins; empty where nothing was
    pushed. `steps` are the build's."""
    built: dict[str, str] = {}
    for part in steps:
        if part.name in step.definition.parts and part.written.build is not None:
            [platform] = part.written.build.platforms
            built[platform] = next((image["reference"] for image in part.images or ()), "")
    return built


def with_their_parts(named: Sequence[Step], steps: Sequence[Step]) -> Sequence[Step]:
    """The steps, with those of the build's that build their images in parts."""
    names = {step.name for step in named}
    return [*named, *(one for one in steps if one.definition.part_of in names)]
