"""What an engine is asked for an attempt, made of its spec and its journal entry."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

from agent.engines.end_request import EndRequest
from agent.engines.protocol import CacheMount, ImageRequest, SettleImage, SettleTag, StepRequest
from agent.journal_entries import Entry
from agent.lease import Term
from agent.sources import LentSource
from pipelines_schema.contract import StepSpec
from pipelines_schema.contract_images import ImageBuildSpec
from pipelines_schema.own_registries import OwnRegistries


def request_of(
    entry: Entry,
    source: LentSource | None,
    term: Term | None = None,
    settle_image: SettleImage | None = None,
    end: EndRequest | None = None,
    cache_mounts: Sequence[CacheMount] = (),
    settle_tag: SettleTag | None = None,
    tell_healthy: Callable[[], Awaitable[None]] | None = None,
) -> StepRequest:
    spec = entry.spec
    return StepRequest(
        attempt_id=entry.attempt_id,
        step_name=spec.name,
        isolation=spec.isolation or spec.project_id,
        image=spec.image,
        image_digest=spec.image_digest,
        settle_image=settle_image if spec.settles_images else None,
        script=spec.script,
        own_command=spec.own_command,
        health=spec.health,
        tell_healthy=tell_healthy,
        env=spec.env,
        secrets=spec.secrets,
        registries=spec.registries,
        own_registries=own_registries_of(spec),
        user=spec.user or "",
        workdir=spec.workdir or "",
        shell=spec.shell or "",
        offline=spec.network == "none",
        memory_bytes=spec.memory_bytes,
        cpus=spec.cpus,
        services=spec.services,
        privileged=spec.privileged,
        settle_tag=settle_tag,
        cache_mounts=cache_mounts,
        clean=spec.clean,
        output_paths=spec.output_paths,
        timeout_seconds=spec.timeout_seconds,
        grace_seconds=spec.grace_seconds,
        end=end or EndRequest(),
        term=term,
        source=source,
        inputs=_inputs(entry),
        outputs=entry.outputs,
        scratch=entry.scratch,
    )


def image_request_of(
    entry: Entry, build: ImageBuildSpec, source: LentSource | None, settle_tag: SettleTag
) -> ImageRequest:
    spec = entry.spec
    return ImageRequest(
        attempt_id=entry.attempt_id,
        step_name=spec.name,
        build=build,
        registries=spec.registries,
        own_registries=own_registries_of(spec),
        settle_tag=None if build.settled_images is None else settle_tag,
        secrets=spec.secrets,
        offline=spec.network == "none",
        clean=spec.clean,
        timeout_seconds=spec.timeout_seconds,
        source=source,
        inputs=_inputs(entry),
    )


def own_registries_of(spec: StepSpec) -> OwnRegistries | None:
    told = spec.own_registries
    if told is None:
        return None
    return OwnRegistries(registries=told.registries, account=told.account, public=told.public)


def _inputs(entry: Entry) -> Path | None:
    some = any(one.artifacts or one.links or one.folders for one in entry.spec.dependencies)
    return entry.inputs if some else None


def confidential(spec: StepSpec) -> dict[str, str]:
    """What must not be seen in the log or the message, by names of no meaning."""
    passwords = {f"registry {login.host}": login.password for login in spec.registries}
    return {**spec.secrets, **passwords}
