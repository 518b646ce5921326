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
    tag_places: Mapping[str, Place] = field(default_factory=dict, compare=False)
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
        """With the expressions that have a value replaced; a tag of which one is empty is left
        out, and nothing is pushed where none is left."""
        filled = {
            tag: filled_reference(tag, values)
            for tag in self.tags
            if empty_word(tag, values) is None
        }
        places = {filled[tag]: at for tag, at in self.tag_places.items() if tag in filled}
        to = _filled(self.cache_to, values)
        if to and self.cache_to and self.cache_to in self.tag_places:
            places[to] = self.tag_places[self.cache_to]
        return replace(
            self,
            target=None if self.target is None else substituted(self.target, values),
            args={name: substituted(value, values) for name, value in self.args.items()},
            tags=tuple(dict.fromkeys(filled.values())),
            push=self.push and bool(filled),
            cache_from=_filled(self.cache_from, values),
            cache_to=to,
            tag_places=places,
        )


def _filled(reference: str | None, values: Mapping[str, str]) -> str | None:
    """None where it means nothing."""
    if reference is None or empty_word(reference, values) is not None:
        return None
    return filled_reference(reference, values)
