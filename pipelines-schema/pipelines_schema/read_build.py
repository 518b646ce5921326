"""The `build` of a step → `ImageBuild`, with every mistake noted."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from pipelines_schema.expressions import substituted
from pipelines_schema.fields import Field, Reading, Vocabulary
from pipelines_schema.image_build import DEFAULT_DOCKERFILE, ImageBuild
from pipelines_schema.image_references import tag_problem
from pipelines_schema.limits import (
    MAX_BUILD_ARGS,
    MAX_IMAGE_CHARACTERS,
    MAX_PLATFORMS,
    MAX_TAGS,
    PLATFORM,
    TARGET,
)
from pipelines_schema.matrix import Matrix
from pipelines_schema.nodes import ListNode, MapNode, Node, ScalarNode
from pipelines_schema.paths import BadPath, normalised_context
from pipelines_schema.placeholders import filled_reference, misplaced, only_in_a_tag
from pipelines_schema.problem import Place, shown
from pipelines_schema.read_endings import read_boolean
from pipelines_schema.read_environment import read_environment, read_secrets

BUILD = Vocabulary(
    where="`build`",
    known=(
        *("context", "dockerfile", "target", "args", "tags", "push", "platforms", "secrets"),
        *("cacheFrom", "cacheTo", "provenance", "sbom"),
    ),
    synonyms={
        "file": "write `dockerfile`",
        "path": "write `context`",
        "buildArgs": "write `args`",
        "build-args": "write `args`",
        "buildargs": "write `args`",
        "env": "write `args`: a Dockerfile reads them by `ARG`",
        "tag": "write `tags`, a list",
        "image": "write `tags`, a list of references to push the image to",
        "platform": "write `platforms`, a list such as `[linux/amd64, linux/arm64]`",
        "cache-from": "write `cacheFrom`, a reference",
        "cache-to": "write `cacheTo`, a reference",
        "cache": "write `cacheFrom` and `cacheTo`, references",
        "attest": "write `provenance: true`, or `sbom: true`",
    },
)
NOT_BESIDE_BUILD: Mapping[str, str] = {
    "run": "the Dockerfile says what is run",
    "runScript": "the Dockerfile says what is run",
    "image": "the Dockerfile's `FROM` names the image",
    "imageSlug": "the Dockerfile's `FROM` names the image",
    "env": "write `args` in `build`, which the Dockerfile reads by `ARG`",
    "cacheDirs": "write `RUN --mount=type=cache,target=…` in the Dockerfile",
    "outputPaths": "the image is what the step makes",
    "generates": "a script writes further steps",
    "reports": "a script writes reports: run the tests in a step of their own",
    "services": "what a Dockerfile runs reaches no service: test the image in a step of its own",
    "grace": "what a Dockerfile runs is killed without being asked",
    "resources": "the engine can't limit an image's build",
    "user": "write `USER` in the Dockerfile",
    "workdir": "write `context` in `build`",
    "shell": "write `SHELL` in the Dockerfile",
    "git": "an image's build context has no `.git`",
    "privileged": "an image is built without more rights",
}
"""Keys of a step that mean nothing where it builds an image → what to do instead."""
TAKEN_ARGS = {"BUILDKIT_CACHE_MOUNT_NS": "it keeps the projects' caches apart"}
_REPLACED = (
    "in `args` and `target` only values of the matrix, parameters with `oneOf`, `build.id`, "
    "`build.number` and `sha` are, and in `args` outputs"
)
_HINT = "write a mapping such as `{context: ., tags: [registry.example/app:1.0]}`"


def read_build(
    reading: Reading,
    fields: dict[str, Field],
    allowed: Collection[str],
    places: Mapping[str, str],
    outputs: Collection[str],
    matrix: Matrix | None,
) -> ImageBuild | None:
    """None where there is none, or no mapping. `allowed` may stand in args and target, `places`,
    each with an example, in tags, `outputs` in args."""
    entry = fields.get("build")
    if entry is None:
        return None
    for key, instead in NOT_BESIDE_BUILD.items():
        if key in fields:
            place = fields[key].key.place
            reading.add(place, f"`{key}` has no place beside `build`: {instead}")
    node = reading.mapping(entry, _HINT)
    if node is None:
        return None
    parts = reading.fields(node, BUILD)
    tags = _tags(reading, parts.get("tags"), places, matrix)
    caches = {
        name: reference
        for name in ("cacheFrom", "cacheTo")
        if (reference := _cache(reading, parts.get(name), places, matrix)) is not None
    }
    at = {reference: parts[name].place for name, reference in caches.items()}
    return ImageBuild(
        context=_path(reading, parts.get("context"), "."),
        dockerfile=_path(reading, parts.get("dockerfile"), DEFAULT_DOCKERFILE),
        target=_target(reading, parts.get("target"), allowed),
        args=_args(reading, parts.get("args"), (*allowed, *outputs)),
        tags=tuple(tags),
        push=_push(reading, parts, entry),
        platforms=_platforms(reading, parts.get("platforms")),
        cache_from=caches.get("cacheFrom"),
        cache_to=caches.get("cacheTo"),
        provenance=read_boolean(reading, parts.get("provenance")),
        sbom=read_boolean(reading, parts.get("sbom")),
        places={} if reading.is_json else {**at, **tags},
        secret_places=read_secrets(reading, parts),
    )


def _path(reading: Reading, entry: Field | None, default: str) -> str:
    if entry is None:
        return default
    hint = f"write a path, or leave it out for `{default}`"
    text = reading.text(entry, hint)
    if text is None or reading.refuse_expressions(entry.value):
        return default
    try:
        return normalised_context(text, is_file=entry.name == "dockerfile")
    except BadPath as error:
        reading.add(entry.place, f"the path {shown(text)} of {entry.label} {error}")
        return default


def _target(reading: Reading, entry: Field | None, allowed: Collection[str]) -> str | None:
    if entry is None:
        return None
    hint = "write the name of one of the Dockerfile's stages"
    if reading.refuse_expressions(entry.value, allowed, instead=_REPLACED):
        return None
    text = reading.line_of_text(entry, hint, MAX_IMAGE_CHARACTERS, allowed)
    if text is not None and not TARGET.fullmatch(substituted(text, dict.fromkeys(allowed, "x"))):
        reading.add(entry.place, f"{shown(text)} can't be a stage's name: {hint}")
    return text


def _args(reading: Reading, entry: Field | None, allowed: Collection[str]) -> dict[str, str]:
    if entry is None or not isinstance(entry.value, MapNode):
        return read_environment(reading, entry, allowed)
    good = [
        (key, value)
        for key, value in entry.value.entries
        if not reading.refuse_expressions(value, allowed, instead=_REPLACED)
    ]
    args = read_environment(
        reading, Field(entry.key, MapNode(tuple(good), entry.value.place)), allowed
    )
    if len(entry.value.entries) > MAX_BUILD_ARGS:
        reading.add(
            entry.place,
            f"`args` has {len(entry.value.entries)} entries: at most {MAX_BUILD_ARGS} are allowed",
        )
    for key, _ in entry.value.entries:
        if key.text in TAKEN_ARGS:
            reading.add(key.place, f"{shown(key.text)} is not yours to set: {TAKEN_ARGS[key.text]}")
    return args


def _tags(
    reading: Reading, entry: Field | None, places: Mapping[str, str], matrix: Matrix | None
) -> dict[str, Place]:
    if entry is None:
        return {}
    lone = entry.value if isinstance(entry.value, ScalarNode) else None
    node = ListNode((lone,), lone.place) if lone is not None and not entry.is_null else None
    node = node or reading.list(entry, "write a list such as `[registry.example/app:1.0]`")
    items = () if node is None else node.items
    if len(items) > MAX_TAGS:
        reading.add(entry.place, f"`tags` has {len(items)} items: at most {MAX_TAGS} are allowed")
        return {}
    found: dict[str, Place] = {}
    for item in items:
        text = _tag(reading, entry, item, places)
        if text is None:
            continue
        fault = _tag_fault(text, places, matrix)
        if fault is not None:
            reading.add(item.place, fault)
        elif text in found:
            reading.add(item.place, f"`tags` names {shown(text)} twice: remove one of them")
        found.setdefault(text, item.place)
    return found


def _cache(
    reading: Reading, entry: Field | None, places: Mapping[str, str], matrix: Matrix | None
) -> str | None:
    """A reference, as one of `tags`."""
    text = None if entry is None else _tag(reading, entry, entry.value, places)
    if entry is None or text is None:
        return None
    fault = _tag_fault(text, places, matrix, "the reference")
    if fault is not None:
        reading.add(entry.place, f"{entry.label}: {fault}")
    return text


def _platforms(reading: Reading, entry: Field | None) -> tuple[str, ...]:
    if entry is None:
        return ()
    hint = "write a list such as `[linux/amd64, linux/arm64]`"
    found: dict[str, None] = {}
    for place, text in reading.texts(entry, hint, MAX_PLATFORMS, one_allowed=True):
        if not PLATFORM.fullmatch(text):
            reading.add(place, f"{shown(text)} is no platform: {hint}")
        elif text in found:
            reading.add(place, f"`platforms` names {shown(text)} twice: remove one of them")
        found[text] = None
    return tuple(found)


def _tag(reading: Reading, entry: Field, item: Node, places: Collection[str]) -> str | None:
    if reading.refuse_expressions(item, places):
        return None
    hint = "write a reference such as `registry.example/app:1.0`"
    return reading.line_of_text(Field(entry.key, item), hint, MAX_IMAGE_CHARACTERS, places)


def _tag_fault(
    text: str, places: Mapping[str, str], matrix: Matrix | None, called: str = "the tag"
) -> str | None:
    """What is wrong with a tag, with one of the values that it gets."""
    word = misplaced(text)
    if word is not None:
        return only_in_a_tag("a tag", word)
    for combination in matrix.combinations() if matrix is not None else ({},):
        values = {f"matrix.{name}": value for name, value in combination.items()}
        filled = filled_reference(text, {**places, **values})
        problem = tag_problem(filled)
        if problem is not None:
            meant = "" if filled == text else f", that is {shown(filled)},"
            return f"{called} {shown(text)}{meant} {problem}"
    return None


def _push(reading: Reading, parts: dict[str, Field], entry: Field) -> bool:
    """Left out, an image that has tags is pushed."""
    tags = parts.get("tags")
    has_tags = tags is not None and not (isinstance(tags.value, ListNode) and not tags.value.items)
    if "push" not in parts:
        return has_tags
    push = read_boolean(reading, parts["push"])
    if push and not has_tags:
        reading.add(
            parts["push"].place,
            "`push` needs `tags`: the references to push the image to, such as "
            "`[registry.example/app:1.0]`",
        )
    return push
