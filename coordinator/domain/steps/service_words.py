"""What an agent is told of a step's service. Pure."""

from __future__ import annotations

from coordinator.domain.model import Build, Step
from coordinator.domain.steps.step_words import place_words
from pipelines_schema import Service, substituted
from pipelines_schema.contract import ServiceSpec


def service_spec(
    service: Service, step: Step, build: Build, *, image: str, digest: str | None
) -> ServiceSpec:
    """`image` is the reference that the service's image means, `digest` what it means in the
    build, where that is known."""
    words = place_words(build, step.written.env)
    ready = service.ready
    return ServiceSpec(
        name=service.name,
        image=image,
        image_digest=digest,
        env={name: substituted(value, words) for name, value in service.env.items()},
        command=list(service.command),
        user=service.user,
        memory_bytes=service.memory_bytes,
        privileged=service.privileged,
        tcp=ready.tcp,
        http=ready.http,
        exec=list(ready.exec),
        ready_seconds=ready.timeout_seconds,
    )
