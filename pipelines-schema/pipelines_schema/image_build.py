"""The image that a step builds, as understood."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from pipelines_schema.expressions import substituted
from pipelines_schema.placeholders import empty_word, filled_reference
from pipelines_schema.problem import Place
from pipelines_schema.stored_json import without_absent

DEFAULT_DOCKERFILE = "Dockerfile"


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageBuild:
    """An image that a step builds from a Dockerfile, instead of running a script."""

    context: str = "."
    """Normalised path of a folder, relative to the workspace."""
    dockerfile: str = DEFAULT_DOCKERFILE
    """Normalised path of the file, relative to the context."""
    target: str | None = None
    """The stage to build; None is the last one."""
    args: Mapping[str, str] = field(default_factory=dict)
    tags: tuple[str, ...] = ()
    """Whole references, registry and tag included."""
    push: bool = False
    """To all tags; else the image is only built, which fills the engine's cache."""
    platforms: tuple[str, ...] = ()
    """`linux/arm64` and the like, all in one image; empty is the engine's own."""
    cache_from: str | None = None
    """Where a registry keeps layers that the build may take."""
    cache_to: str | None = None
    """Where a registry is to keep the build's layers; a whole reference, as a tag."""
    provenance: bool = False
    """With what the engine says of how it was built."""
    sbom: bool = False
    """With what the engine finds in it."""
    places: Mapping[str, Place] = field(default_factory=dict, compare=False)
    """Where the references stand in the file; not stored."""
    secret_places: Mapping[str, Place] = field(default_factory=dict, compare=False)
    """Secrets that it names itself, with where they stand; they are the step's."""

    @property
    def is_plain(self) -> bool:
        """An agent of any age can build it."""
        return not (
            self.platforms or self.cache_from or self.cache_to or self.provenance or self.sbom
        )

    @property
    def references(self) -> tuple[str, ...]:
        """All that something is pushed to."""
        return (*self.tags, *([self.cache_to] if self.cache_to else []))

    def to_json(self) -> dict[str, Any]:
        """For storage; `from_json` reads it back."""
        return without_absent(
            context=self.context,
            dockerfile=self.dockerfile,
            target=self.target,
            args=dict(self.args),
            tags=list(self.tags),
            push=self.push,
            platforms=list(self.platforms) or None,
            cacheFrom=self.cache_from,
            cacheTo=self.cache_to,
            provenance=self.provenance or None,
            sbom=self.sbom or None,
        )

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> ImageBuild:
        """What `to_json` wrote; all but `tags` and `push` may be left out."""
        return cls(
            context=value.get("context", "."),
            dockerfile=value.get("dockerfile", DEFAULT_DOCKERFILE),
            target=value.get("target"),
            args=dict(value.get("args", {})),
            tags=tuple(value.get("tags", ())),
            push=value.get("push", False),
            platforms=tuple(value.get("platforms", ())),
            cache_from=value.get("cacheFrom"),
            cache_to=value.get("cacheTo"),
            provenance=value.get("provenance", False),
            sbom=value.get("sbom", False),
        )

    def with_values(self, values: Mapping[str, str]) -> ImageBuild:
        """With the expressions that have a value replaced. A reference of which one is empty is
        left out, and nothing is pushed where no tag is left."""
        written = [*self.tags, *filter(None, [self.cache_from, self.cache_to])]
        filled = {
            one: filled_reference(one, values) for one in written if empty_word(one, values) is None
        }
        tags = [filled[tag] for tag in self.tags if tag in filled]
        return replace(
            self,
            target=None if self.target is None else substituted(self.target, values),
            args={name: substituted(value, values) for name, value in self.args.items()},
            tags=tuple(dict.fromkeys(tags)),
            push=self.push and bool(tags),
            cache_from=filled.get(self.cache_from or ""),
            cache_to=filled.get(self.cache_to or ""),
            places={filled[one]: at for one, at in self.places.items() if one in filled},
        )
