"""What runs beside a step: named as hosts, begun before the script and gone after it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from pipelines_schema.expressions import substituted
from pipelines_schema.limits import DEFAULT_READY_SECONDS
from pipelines_schema.placeholders import filled_image
from pipelines_schema.problem import Place
from pipelines_schema.stored_json import without_absent


@dataclass(frozen=True, slots=True, kw_only=True)
class Readiness:
    """When others may use a service. At most one of the first three is there; with none of them it
    is ready once its process was started."""

    tcp: int | None = None
    """A port that takes connections."""
    http: str | None = None
    """A URL, with the service's name as its host, that answers with a status from 200 to 399."""
    exec: tuple[str, ...] = ()
    """A command within the service that ends with 0."""
    timeout_seconds: int = DEFAULT_READY_SECONDS

    def to_json(self) -> dict[str, Any]:
        return without_absent(
            tcp=self.tcp,
            http=self.http,
            exec=list(self.exec) or None,
            timeoutSeconds=self.timeout_seconds,
        )

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Readiness:
        """What `to_json` wrote."""
        return cls(
            tcp=value.get("tcp"),
            http=value.get("http"),
            exec=tuple(value.get("exec", ())),
            timeout_seconds=value["timeoutSeconds"],
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    name: str
    """A DNS label: the step, and the services after it, find it by this name."""
    image: str
    """A slug or an image reference, with its expressions still in it."""
    env: Mapping[str, str] = field(default_factory=dict)
    """Its own alone: neither the step's nor the workflow's variables are added."""
    command: tuple[str, ...] = ()
    """Instead of the image's command, after its entry point; empty: the image's own."""
    ready: Readiness = field(default_factory=Readiness)
    user: str | None = None
    """`uid` or `uid:gid`; None is the image's own."""
    memory_bytes: int | None = None
    privileged: bool = False
    """As a step's."""
    image_place: Place | None = field(default=None, compare=False)
    """Where `image` stands in the file; not stored."""

    def with_values(self, known: Mapping[str, str]) -> Service:
        """With the expressions that have a value replaced."""
        env = {name: substituted(value, known) for name, value in self.env.items()}
        return replace(self, image=filled_image(self.image, known), env=env)

    def to_json(self) -> dict[str, Any]:
        return without_absent(
            name=self.name,
            image=self.image,
            env=dict(self.env) or None,
            command=list(self.command) or None,
            ready=self.ready.to_json(),
            user=self.user,
            memoryBytes=self.memory_bytes,
            privileged=self.privileged or None,
        )

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Service:
        """What `to_json` wrote."""
        return cls(
            name=value["name"],
            image=value["image"],
            env=dict(value.get("env", {})),
            command=tuple(value.get("command", ())),
            ready=Readiness.from_json(value["ready"]),
            user=value.get("user"),
            memory_bytes=value.get("memoryBytes"),
            privileged=value.get("privileged", False),
        )
