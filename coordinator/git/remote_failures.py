"""What git said when a fetch failed, in words that say what to do."""

from __future__ import annotations

import re

from coordinator.ports import RemoteFailed

_MISSING = re.compile(r"couldn't find remote ref|not our ref|no such remote ref", re.IGNORECASE)
_REFUSED = re.compile(
    r"Authentication failed|could not read (?:Username|Password)|returned error: 40[134]|"
    r"repository .* not found|Permission denied|Host key verification failed|"
    r"not appear to be a git repository|does not exist|access denied|fsck error|"
    r"protocol '.*' not allowed|terminal prompts disabled",
    re.IGNORECASE,
)
_ASKED = re.compile(
    r"Authentication failed|could not read (?:Username|Password)|terminal prompts disabled|"
    r"returned error: 40[13]",
    re.IGNORECASE,
)
_PRIVATE = re.compile(
    r"returned error: 404|repository .* not found|Permission denied \(publickey|access denied",
    re.IGNORECASE,
)
_REDIRECTED = re.compile(r"returned error: 30[0-9]|unable to update url base from redirection")
_SAYS_NOTHING = (
    *("hint:", "warning:", "Warning:", "Please make sure you", "and the repository exists", "@@@"),
    "fatal: Could not read from remote repository",
)
_TOO_LARGE = re.compile(r"File too large|signal 25|index-pack died of signal 25")


def failure_of(words: str, code: int, *, with_token: bool) -> RemoteFailed:
    """What git said, in one line, and whether another try may help."""
    lines = [" ".join(line.split()) for line in words.splitlines()]
    told = [line for line in lines if line and not line.startswith(_SAYS_NOTHING)]
    said = "; ".join("".join(c for c in line if c.isprintable()) for line in told[-3:])[:500]
    if _MISSING.search(words):
        return RemoteFailed(said, permanent=True, missing=True)
    if _REDIRECTED.search(words):
        message = f"the forge redirects elsewhere, which is not followed ({said}): give the URL"
        return RemoteFailed(f"{message} that it redirects to", permanent=True)
    if _TOO_LARGE.search(words):
        return RemoteFailed("the repository is larger than max_fetch_bytes", permanent=True)
    if _ASKED.search(words):
        how = "refuses the token that it got" if with_token else "asks for a token, and got none"
        return RemoteFailed(f"the forge {how} ({said})", permanent=True, closed=True)
    closed = _PRIVATE.search(words) is not None
    permanent = closed or _REFUSED.search(words) is not None
    return RemoteFailed(said or f"git fetch ended with {code}", permanent=permanent, closed=closed)
