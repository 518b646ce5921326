"""Why an image build failed, in one line, out of what its tools printed last."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence

MAX_CAUSE_CHARACTERS = 500
TAIL_LINES = 400

_ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|[\x00-\x08\x0b-\x1f\x7f]")
_PREFIX = re.compile(r"^(?:#\d+\s+)?(?:\[[^\]]{1,100}\]\s+)?(?:\d+\.\d+\s+)?")
"""What a builder may put before a tool's line: number, stage, seconds."""

_INTERNAL = re.compile(r"^(?:#\d+\s+)?\[internal\]")
"""What the builder says of itself, such as why it could not fetch a base image."""
_BASE_IMAGE = re.compile(
    r": FROM (?:--\S+ )*(?P<image>\S+)(?: AS \S+)?: (?P<why>.+)", re.IGNORECASE | re.DOTALL
)

_PIP_ERROR = re.compile(r"^ERROR: (?!process )(.+)")
"""Not the builder's own word on the process that failed."""
_PIP_NO_MATCH = re.compile(r"^ERROR: (No matching distribution found for .+)")
_PIP_UNREACHABLE = re.compile(
    r"Retrying \(Retry\(|Could not fetch URL|NewConnectionError|Failed to establish a new conn"
)
_PIP_OWN = re.compile(
    r"^(?:Collecting |ERROR: (?:No matching distribution found|Could not find a version that|"
    r"Cannot install |Invalid requirement|ResolutionImpossible|Could not install packages))"
)
"""No other tool writes these: `ERROR: …` alone may be anybody's."""
_PIP_SAYS_LITTLE = ("subprocess-exited-with-error", "Failed building", "Failed to build", "Resol")
_NPM_CODE = re.compile(r"^npm (?:ERR!|error) code (\S+)")
_NPM_TEXT = re.compile(r"^npm (?:ERR!|error) (?:\d{3} )?(.+)")
_NPM_SAYS_NOTHING = (
    "code ", "A complete log", "errno ", "path ", "command ", "Note that you can also install",
    "For a full report", "See /", "    ", "syscall ",
)  # fmt: skip
_GO_FAULT = re.compile(r"^(?:\./|/src/)?([\w./-]+\.go:\d+(?::\d+)?: .+)")
_GO_TOOL = re.compile(r"^go: (?!downloading|finding|added|upgraded|to add|creating)(.+)")
_CERTIFICATE = re.compile(
    r"CERTIFICATE_VERIFY_FAILED|certificate verify failed|self[- ]signed certificate|"
    r"SELF_SIGNED_CERT|UNABLE_TO_(?:GET_ISSUER_CERT|VERIFY_LEAF_SIGNATURE)|CERT_UNTRUSTED|"
    r"x509: certificate signed by"
)
_UNKNOWN_AUTHORITY = (
    "the certificate of the package index is signed by nobody that the image knows: "
    "name your own authority's in the agent's setting ca_file (pushrod agent --ca-file)"
)
_APT_ERROR = re.compile(r"^E: (.+)")
_NOT_FOUND = re.compile(r"^(?:/bin/sh: \d+: |/bin/sh: |sh: )(.+: not found)")


def build_failure(lines: Sequence[str], message: str) -> str:
    """`tool failed: what it said`; the step's own `message` where no tool said why.

    `message` names the instruction that failed, which tells whose words to look for.
    """
    if base := _BASE_IMAGE.search(message):  # before any tool ran
        return _one_line(f"base image {base['image']} could not be fetched: {base['why']}")
    said = list(_plain(lines[-TAIL_LINES:]))
    for words, read in _READERS:
        if any(word in message for word in words) and (cause := read(said)):
            return _one_line(cause)
    pip_ran = any(_PIP_OWN.match(line) for line in said)
    for _, read in _READERS:
        if (read is not _pip or pip_ran) and (cause := read(said)):
            return _one_line(cause)
    return _one_line(message)


def _plain(lines: Sequence[str]) -> Iterator[str]:
    """The tools' lines without what is put before them; not the builder's own."""
    for line in lines:
        text = _ESCAPES.sub("", line).rstrip()
        if not _INTERNAL.match(text):
            yield _PREFIX.sub("", text, count=1)


def _one_line(text: str) -> str:
    joined = " ".join(text.split())
    return (
        joined if len(joined) <= MAX_CAUSE_CHARACTERS else joined[: MAX_CAUSE_CHARACTERS - 1] + "…"
    )


def _lowered(text: str) -> str:
    """As the continuation of a sentence; names keep their case."""
    first = text.split(" ", 1)[0]
    return text[0].lower() + text[1:] if first.istitle() else text


def _distrusts(lines: Sequence[str]) -> bool:
    return any(_CERTIFICATE.search(line) for line in lines)


def _pip(lines: Sequence[str]) -> str | None:
    errors = [found[1] for line in lines if (found := _PIP_ERROR.match(line))]
    if not errors:
        return None
    missing = [found[1] for line in lines if (found := _PIP_NO_MATCH.match(line))]
    if _distrusts(lines):
        return f"pip install failed: {_UNKNOWN_AUTHORITY}"
    unreachable = any(_PIP_UNREACHABLE.search(line) for line in lines)
    if missing and unreachable:
        wanted = missing[-1].removeprefix("No matching distribution found for ")
        return f"pip install failed: the package index can't be reached for {wanted}"
    told = missing or [e for e in errors if not e.startswith(_PIP_SAYS_LITTLE)] or errors
    return f"pip install failed: {_lowered(told[-1])}"


def _npm(lines: Sequence[str]) -> str | None:
    code = next((found[1] for line in lines if (found := _NPM_CODE.match(line))), None)
    texts = [found[1] for line in lines if (found := _NPM_TEXT.match(line))]
    told = [text for text in texts if not text.startswith(_NPM_SAYS_NOTHING)]
    if code is None and not told:
        return None
    if _distrusts(lines):
        return f"npm failed: {_UNKNOWN_AUTHORITY}"
    said = told[0].strip() if told else ""
    return "npm failed: " + ": ".join(part for part in (code, said) if part)


def _go(lines: Sequence[str]) -> str | None:
    for pattern in (_GO_FAULT, _GO_TOOL):
        if found := next((match for line in lines if (match := pattern.match(line))), None):
            if _distrusts([found[1]]):
                return f"go build failed: {_UNKNOWN_AUTHORITY}"
            return f"go build failed: {found[1]}"
    return None


def _apt(lines: Sequence[str]) -> str | None:
    errors = [found[1] for line in lines if (found := _APT_ERROR.match(line))]
    return f"apt-get failed: {_lowered(errors[0])}" if errors else None


def _shell(lines: Sequence[str]) -> str | None:
    found = next((match for line in reversed(lines) if (match := _NOT_FOUND.match(line))), None)
    return f"command failed: {found[1]}" if found else None


_READERS: Sequence[tuple[tuple[str, ...], Callable[[Sequence[str]], str | None]]] = (
    (("pip",), _pip),
    (("npm",), _npm),
    (("go build", '"go"', "go mod", "RUN go"), _go),
    (("apt-get", "apt "), _apt),
    ((), _shell),
)
