"""Of the wire contract: what a step's files come from. See `contract`."""

from __future__ import annotations

from pydantic import Field

from pipelines_schema.wire import WireModel

LFS_OBJECTS_AT_ONCE = 1000


class GitSpec(WireModel):
    """The `.git` that a script finds."""

    depth: int | None = Field(default=None, ge=1)
    """Commits of each line of ancestors; missing: all, with the project's branches."""
    tags: bool = False
    """All tags of the commits that are there; else those of the step's own commit."""
    apart: bool = False
    """It shares nothing with what other builds have brought: a fork's."""
    state: str = ""
    """Changes whenever the tags or branches that it may hold do; opaque."""


class SourceSpec(WireModel):
    url: str
    """The project's repository at the coordinator, `…/git/<account>/<project>.git`."""
    commit: str
    git: GitSpec | None = None
    """None: there is no `.git` in the workspace."""
    inputs: list[str] | None = None
    """Patterns of the files that the workspace has; None: all."""


class GitRef(WireModel):
    """A branch or tag of a project's repository."""

    name: str
    """The whole name: `refs/tags/v1`, `refs/heads/main`."""
    object: str
    """What it points to: a commit, or the object of an annotated tag."""
    commit: str
    """The commit meant."""


class GitRefsResponse(WireModel):
    refs: list[GitRef] = []
    """In order of their names. What they name is fetched by its id."""


class SubmoduleRef(WireModel):
    """A submodule whose commit the project's repository at the coordinator has, too."""

    path: str
    """Relative to the workspace, `/` separated, as the trees of the commits spell it."""
    commit: str


class SubmodulesResponse(WireModel):
    submodules: list[SubmoduleRef] = []
    """Outer ones before those within them."""


class LfsObject(WireModel):
    """The content of a file that git itself has only a pointer of."""

    oid: str = Field(pattern=r"^[0-9a-f]{64}$")
    """Its sha256."""
    size: int = Field(ge=0, lt=1 << 62)


class LfsRequest(WireModel):
    submodule: str = Field(default="", max_length=4096)
    """Path of the submodule that has the pointers; empty: the project itself."""
    objects: list[LfsObject] = Field(max_length=LFS_OBJECTS_AT_ONCE)
