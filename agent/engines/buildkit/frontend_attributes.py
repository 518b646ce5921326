"""What the frontend that reads a Dockerfile is told: values of a step that builds an image."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import PurePosixPath

from agent.engines.buildkit.build import REGISTRY
from agent.engines.buildkit.image_parts import cache_of_part
from agent.engines.buildkit.orphans import instruction_mark
from agent.engines.protocol import ImageRequest
from pipelines_schema.contract_images import ImageBuildSpec
from pipelines_schema.image_references import registry_of

NO_PROXY = "no_proxy"
CACHE_NAMESPACE = "build-arg:BUILDKIT_CACHE_MOUNT_NS"


def frontend_attributes(
    request: ImageRequest, *, no_cache: bool, marked: bool, authorities: Mapping[str, str]
) -> dict[str, str]:
    """`marked`: each instruction's processes carry the attempt's mark, by which they are found;
    `authorities` are arguments that the Dockerfile may ask for."""
    spec = request.build
    # The frontend passes over those that the Dockerfile doesn't declare by ARG.
    arguments = {**authorities, **spec.args}
    attributes = {f"build-arg:{name}": value for name, value in arguments.items()}
    attributes["filename"] = PurePosixPath(spec.dockerfile).name
    if spec.target is not None:
        attributes["target"] = spec.target
    if no_cache:
        attributes["no-cache"] = ""  # of all stages; a further exporter takes what was built
    if marked and NO_PROXY not in map(str.lower, spec.args):
        attributes["build-arg:NO_PROXY"] = instruction_mark(request.attempt_id)
    if spec.platforms:
        attributes["platform"] = ",".join(spec.platforms)
    if spec.provenance:
        attributes["attest:provenance"] = "mode=min"  # the arguments' values are not told
    if spec.sbom:
        attributes["attest:sbom"] = ""
    if spec.cache_from is not None:
        at = dict.fromkeys([spec.cache_from, cache_of_part(spec, spec.cache_from)])
        entries = [{"Type": REGISTRY, "Attrs": _cache_at(spec, one)} for one in at]
        attributes["cache-imports"] = json.dumps(entries)
    if request.offline:
        attributes["force-network-mode"] = "none"
    # Cache mounts are found by a name that the Dockerfile chooses: this keeps other projects'
    # out of reach.
    attributes[CACHE_NAMESPACE] = spec.cache_scope or request.attempt_id
    return attributes


def cache_exported(spec: ImageBuildSpec) -> Mapping[str, str] | None:
    """Where the layers go that others may take; None if nowhere."""
    if spec.cache_to is None:
        return None
    return {**_cache_at(spec, cache_of_part(spec, spec.cache_to)), "mode": "max"}


def _cache_at(spec: ImageBuildSpec, reference: str) -> dict[str, str]:
    insecure = registry_of(reference) in spec.insecure_registries
    return {"ref": reference, **({"registry.insecure": "true"} if insecure else {})}
