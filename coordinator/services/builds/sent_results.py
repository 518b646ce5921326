"""What was sent from a laptop, checked as far as anybody can who has not run it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from coordinator.domain.errors import Invalid
from coordinator.domain.lifecycle import StepState
from coordinator.domain.model import Artifact, Build, OutputEntry, Step
from coordinator.domain.step_definition import StepDefinition
from coordinator.domain.steps.laptop_results import parts_of_sent, refusal
from coordinator.domain.steps.reuse import Parts, files_digest
from coordinator.object_ports import LogDigest
from coordinator.services.builds.input_lists import packed_list
from coordinator.services.core import new_id
from coordinator.services.outputs.batches import check_names, entries_of
from pipelines_schema.contract_laptop import MAX_STEP_NAME, SentRun, SentStep
from pipelines_schema.sent_steps import read_sent_step
from pipelines_schema.step_outputs import OutputsError, check_outputs

EPOCH = 1
"""Of the only attempt of each of these steps."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SentResult:
    step: Step
    parts: Parts
    log: LogDigest
    outputs: Mapping[str, str]
    artifacts: Sequence[Artifact]
    entries: Sequence[OutputEntry]

    @property
    def name(self) -> str:
        return self.step.name


def packed_lists(run: SentRun) -> Mapping[str, bytes]:
    """By digest. Raises Invalid."""
    packed = [packed_list(files) for files in run.lists.values()]
    if [one.digest for one in packed] != list(run.lists):
        raise Invalid("a list of files has another digest than it says")
    return {one.digest: one.packed for one in packed}


def read_results(build: Build, run: SentRun) -> Sequence[SentResult]:
    """In their order. Raises Invalid."""
    read = [_read(build, run, position, sent) for position, sent in enumerate(run.steps)]
    by_name = {one.name: one for one in read}
    if len(by_name) < len(read):
        raise Invalid("two of the steps have the same name")
    for one, sent in zip(read, run.steps, strict=True):
        _check_dependencies(sent, one, by_name)
    # What a step depends on and was not sent is not among the build's steps.
    return [_within(one, by_name) for one in read]


def _read(build: Build, run: SentRun, position: int, sent: SentStep) -> SentResult:
    try:
        written = read_sent_step(sent.written)
        check_outputs(sent.outputs)
    except (ValueError, OutputsError) as error:
        raise Invalid(f"steps[{position}]: {error}") from error
    if sent.files not in run.lists:
        raise Invalid(f"steps[{position}]: `lists` lacks the files that its `inputs` name")
    step = Step(
        id=new_id(),
        build_id=build.id,
        project_id=build.project_id,
        account_id=build.account_id,
        position=position,
        name=written.name,
        state=StepState.SUCCEEDED,
        definition=StepDefinition(written=written, input_files=sent.files),
        depends_on=written.depends_on,
        labels={},
        epoch=EPOCH,
        attempt=1,
        lost_count=0,
        holder=None,
        lease_seconds=None,
        exit_code=0,
        started_at=build.started_at,
        finished_at=build.finished_at,
    )
    _check_name(step.name)
    refused = refusal(step)
    if refused is not None:
        raise Invalid(f"no result of step {step.name!r} can be sent: {refused}")
    check_names([*sent.output_files, *sent.output_links, *sent.output_folders])
    return SentResult(
        step=step,
        parts=parts_of_sent(step, build, run, sent),
        log=LogDigest(size=sent.log.size, sha256=sent.log.sha256),
        outputs=sent.outputs,
        artifacts=[
            Artifact(step_id=step.id, epoch=EPOCH, **file.model_dump())
            for file in sent.output_files
        ],
        entries=entries_of(step.id, EPOCH, sent.output_links, sent.output_folders),
    )


def _check_name(name: str) -> None:
    """Raises Invalid."""
    if not name.isprintable() or not 0 < len(name) <= MAX_STEP_NAME:
        raise Invalid(f"a step's name has 1 to {MAX_STEP_NAME} printable characters")


def _check_dependencies(sent: SentStep, one: SentResult, by_name: Mapping[str, SentResult]) -> None:
    """Raises Invalid where it did not have what these left."""
    if set(sent.dependencies) != set(one.step.depends_on):
        raise Invalid(f"step {one.name!r}: `dependencies` are not those of its `dependsOn`")
    for name, left in sent.dependencies.items():
        other = by_name.get(name)
        if other is None:
            continue
        if left != f"succeeded {files_digest(other.artifacts, other.entries)}":
            raise Invalid(f"step {one.name!r} did not have the files that {name!r} has left")


def _within(one: SentResult, by_name: Mapping[str, SentResult]) -> SentResult:
    step = one.step
    names = tuple(name for name in step.depends_on if name in by_name)
    written = replace(step.written, depends_on=names)
    definition = replace(step.definition, written=written)
    return replace(one, step=replace(step, depends_on=names, definition=definition))
