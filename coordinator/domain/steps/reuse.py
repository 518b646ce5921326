"""What counts of a step with `inputs`: two whose parts are the same have the same result. Pure.

A part is a digest, or a mapping of names to digests or short texts, so that what differs can be
named. Whatever a step says counts, but for what can change no result (`_NO_MATTER`): a key that is
new to the language counts by itself.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from coordinator.domain.model import Artifact, Build, OutputEntry, Step
from coordinator.domain.steps.step_words import build_words, step_env
from pipelines_schema import DEFAULT_RUN_ON, substituted

VERSION = 1
"""Of the parts: a change of what counts, or of how it is written, takes the next number."""

Parts = Mapping[str, Any]

_APART = frozenset(
    {
        "name",
        "image",
        "script",
        "env",
        "agents",
        "dependsOn",
        "outputPaths",
        "network",
        "user",
        "workdir",
        "shell",
        "git",
        "secrets",
        "matrixValues",
        "inputs",
    }
)
"""Keys of a stored step that have parts of their own."""
_NO_MATTER = frozenset(
    {
        "cacheDirs",
        "outputKeeps",
        "timeoutSeconds",
        "queueTimeoutSeconds",
        "graceSeconds",
        "retries",
        "atMostOnce",
        "concurrency",
        "allowFailure",
        "runOn",
        "memoryBytes",
        "cpus",
        "when",
        "matrix",
        "matrixOf",
        "failFast",
    }
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Circumstances:
    """What counts of a step besides its own words."""

    image: str | None
    """Digest of its image; None where no agent has resolved it lately."""
    secrets: Mapping[str, str]
    """Name → version, of those that it gets."""
    values: Mapping[str, str]
    """Variables that its dependencies hand on."""
    dependencies: Mapping[str, str]
    """Name → digest of the files it gets from it."""
    services: Mapping[str, str] = field(default_factory=dict)
    """Name → its image, with the digest behind an `@` where an agent has resolved it lately."""


def never_reused(step: Step, build: Build) -> str | None:
    """Why no earlier result is taken for the step, for people; None if one may be."""
    if build.clean:
        return "this build is a clean one (`--clean`), which reuses nothing"
    if build.retry_of is not None:
        return "this build is a retry, whose steps were asked to run again"
    return never_kept(step)


def never_kept(step: Step) -> str | None:
    """Why neither an earlier result is taken for it nor its own for others, whatever the build."""
    written, definition = step.written, step.definition
    reasons = {
        "it has no `inputs`, so it always runs": written.inputs is None,
        "it runs `atMostOnce`": written.at_most_once,
        "it builds an image: what it pushes, and its Dockerfile's images, are looked at anew": (
            written.build is not None
        ),
        "it `generates` steps": written.generates is not None,
        "it does not run on success alone (`runOn`)": written.run_on != DEFAULT_RUN_ON,
        "it runs in no image": written.image is None,
        "the commit's files that its `inputs` name could not be looked at": (
            definition.input_files is None
        ),
    }
    return next((reason for reason, holds in reasons.items() if holds), None)


def parts_of(step: Step, build: Build, known: Circumstances) -> Parts:
    written = step.written
    said = written.to_json()
    rest = {key: value for key, value in said.items() if key not in _APART | _NO_MATTER}
    script = substituted(written.script, build_words(build))
    return {
        "version": VERSION,
        "step": written.name,
        "workflow": build.workflow_name,
        "module": digest_of(build.module and build.module.to_json()),
        "files": step.definition.input_files,
        "commit": build.commit_hash if written.git is not None else None,
        "git": digest_of(said.get("git")),
        "image": known.image,
        "script": digest_of(script),
        "shell": written.shell,
        "workdir": written.workdir,
        "user": written.user,
        "network": written.network.value,
        "labels": dict(step.labels),
        "env": _digests(step_env(step, build)),
        "params": _digests(build.params or {}),
        "matrix": _digests(written.matrix_values),
        "secrets": dict(known.secrets),
        "values": _digests(known.values),
        "dependencies": dict(known.dependencies),
        "outputPaths": digest_of(list(written.output_paths)),
        "rest": digest_of(rest),
        **({"services": dict(known.services)} if known.services else {}),
    }


def with_images(parts: Parts, digest: str, tags: Mapping[str, str]) -> Parts:
    """With the digest of the step's image, and by `tags` those of its services' that lack one."""
    services = {
        name: image if "@" in image or image not in tags else f"{image}@{tags[image]}"
        for name, image in parts.get("services", {}).items()
    }
    return {**parts, "image": digest, **({"services": services} if services else {})}


def key_of(parts: Parts) -> str | None:
    """None where an image is not known: nothing is equal to that."""
    unknown = parts["image"] is None or not is_settled(parts.get("services", {}))
    return None if unknown else digest_of(parts)


def is_settled(services: Mapping[str, str]) -> bool:
    """Whether the digest of each service's image is known."""
    return all("@" in image for image in services.values())


def digest_of(value: Any) -> str:
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()


def _digests(values: Mapping[str, str]) -> dict[str, str]:
    return {name: digest_of(value)[:16] for name, value in values.items()}


def files_digest(artifacts: Iterable[Artifact], entries: Iterable[OutputEntry]) -> str:
    """Of what a step has left for others; times don't count."""
    return digest_of(
        [
            sorted([one.name, one.sha256, one.mode] for one in artifacts),
            sorted([one.name, one.target or "", one.mode] for one in entries),
        ]
    )
