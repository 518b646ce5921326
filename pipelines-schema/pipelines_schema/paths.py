"""Paths as a workflow may name them: caches in the container, outputs in the workspace."""

from __future__ import annotations

from pipelines_schema.limits import MAX_PATH_BYTES
from pipelines_schema.modules import WHOLE_REPOSITORY

WORKSPACE = "/workspace"
"""Where a step's working directory is in a container."""
_KERNEL_AND_SYSTEM = ("/proc", "/sys", "/dev", "/etc")


class BadPath(ValueError):
    """A path that can't be used; the text says why and what to write, as in `… {error}`."""


def normalised_cache_dir(text: str) -> str:
    """An absolute path, or one below `~`, with no `//`, `/./` or closing `/`: a relative one lies
    in the workspace. Raises BadPath."""
    _check_characters(text)
    if "*" in text or "?" in text:
        raise BadPath("holds a pattern: name the folder itself")
    if text.startswith("$"):
        raise BadPath("is not expanded by a shell: write `~/…`, or the path itself")
    if text and not text.startswith(("/", "~")):
        text = f"{WORKSPACE}/{text}"
    segments = _segments(text, "must not hold `..`: write the path it means")
    if text.startswith("~"):
        return _below_home(segments)
    return _not_system("/" + "/".join(segments))


def _below_home(segments: list[str]) -> str:
    if segments[0] != "~":
        raise BadPath("names another user's home folder: write an absolute path")
    if len(segments) == 1:
        raise BadPath("is the whole home folder: name a folder below it, such as `~/.cache`")
    return "/".join(segments)


def _not_system(path: str) -> str:
    if path in ("/", WORKSPACE):
        raise BadPath("can't be a cache as a whole: name a folder below it")
    for system in _KERNEL_AND_SYSTEM:
        if path == system or path.startswith(system + "/"):
            raise BadPath(f"lies in `{system}`, which belongs to the system: cache another folder")
    return path


def normalised_output_path(text: str) -> str:
    """A path or pattern relative to the workspace; a closing `/` is kept. Raises BadPath.

    `/workspace/x` and `./x` are `x`. Also right for the names of artifacts that come from workers.
    """
    _check_characters(text)
    if "\\" in text:
        raise BadPath("holds a backslash: separate folders by `/`")
    outside = (
        f"must lie in the workspace: write a path relative to it, such as `dist/`, or `{WORKSPACE}"
        "/…`"
    )
    relative = text
    if text.startswith("/"):
        relative = _relative_to_workspace(text, outside)
    segments = _segments(relative, outside)
    if segments and segments[0].startswith("~"):
        raise BadPath(outside)
    if not segments:
        raise BadPath("is the whole workspace: name the files or folders to keep")
    path = "/".join(segments) + ("/" if text.endswith(("/", "/.")) else "")
    _check_characters(path)  # `./ x` was hiding a leading space
    return path


def normalised_module_path(text: str) -> str:
    """A folder relative to the repository's root, `.` for all of it. Raises BadPath."""
    _check_characters(text)
    if "\\" in text:
        raise BadPath("holds a backslash: separate folders by `/`")
    if "*" in text or "?" in text:
        raise BadPath("holds a pattern: name the folder itself")
    if text.startswith(("/", "~")):
        raise BadPath("is not in the repository: write a path relative to its root")
    segments = _segments(text, "must lie in the repository: write a path relative to its root")
    path = "/".join(segments) or WHOLE_REPOSITORY
    _check_characters(path)  # `./ x` was hiding a leading space
    return path


def normalised_context(text: str, *, is_file: bool = False) -> str:
    """A folder of the workspace (`.` for all of it), or a file of such a folder. Raises BadPath."""
    _check_characters(text)
    outside = "must lie in the workspace" if not is_file else "must lie in the context"
    outside += ": write a path relative to it, without `..`"
    if text.startswith(("/", "~")) or "\\" in text:
        raise BadPath(outside)
    segments = _segments(text, outside)
    if is_file and (not segments or text.endswith("/")):
        raise BadPath("is a folder: name the Dockerfile itself")
    path = "/".join(segments) or "."
    _check_characters(path)
    return path


def normalised_include(text: str) -> str:
    """A file of the repository. Raises BadPath."""
    _check_characters(text)
    outside = "must lie in the repository: write a path relative to its root, without `..`"
    if text.startswith("~") or "\\" in text:
        raise BadPath(outside)
    segments = _segments(text.removeprefix("/"), outside)
    if not segments or text.endswith("/"):
        raise BadPath("is a folder: name the file itself")
    return "/".join(segments)


def _relative_to_workspace(text: str, outside: str) -> str:
    path = "/" + "/".join(_segments(text, outside))
    if path != WORKSPACE and not path.startswith(WORKSPACE + "/"):
        raise BadPath(outside)
    return path[len(WORKSPACE) + 1 :]


def _segments(text: str, message_for_parent: str) -> list[str]:
    segments = [segment for segment in text.split("/") if segment not in ("", ".")]
    if ".." in segments:
        raise BadPath(message_for_parent)
    return segments


def _check_characters(text: str) -> None:
    if not text.strip():
        raise BadPath("is empty: name a path or remove it")
    if len(text.encode("utf-8", "surrogatepass")) > MAX_PATH_BYTES:
        raise BadPath(f"is longer than {MAX_PATH_BYTES} bytes")
    if text != text.strip():
        raise BadPath("begins or ends with a space: remove it")
    if any(ord(character) < 0x20 or 0x7F <= ord(character) < 0xA0 for character in text):
        raise BadPath("holds a control character: remove it")
    if any("\ud800" <= character <= "\udfff" for character in text):
        raise BadPath("is not valid Unicode")
