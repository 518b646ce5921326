"""What scripts ask for that is not there by itself, whichever system they come from."""

from __future__ import annotations

import re

from pushrod.importing.draft import StepDraft, WorkflowDraft
from pushrod.importing.ledger import Verdict
from pushrod.importing.services import complete_services

_DOCKER = re.compile(r"(?:^|[;&|(]|\bsudo)[ \t]*docker(?:-compose)?[ \t]", re.MULTILINE)
_PRIVILEGED = (
    "only of a project that an administrator trusts (`pushrod project trust`), on agents started "
    "with `--allow-privileged`"
)
_NO_DOCKER = (
    "there is no Docker in a step: build images by `build`, or run it on an agent with the host "
    "engine"
)
_BASHLESS = re.compile(r"(?:.*/)?(?:alpine|busybox|docker)(?::.*)?|.*(?:alpine|busybox).*")
_NO_SHELL = re.compile(r".*distroless.*")
_WITHOUT_SHELL = "this image has no shell: choose one that has"
_BY_SH = "this image has no bash: its script runs by `sh`, as it did"
_NO_BASH = "this image may have no bash, which its script asks for: choose one that has, or add it"
_ASKS_FOR_BASH = re.compile(
    r"""\[\[ | \$' | [<>]\( | <<< | &> | \w\+?=\(        # tests, quotes, substitutions, arrays
    | \$\{(?:!|\w+(?:\[|//|/|\^|,|:\d|:\ ?-\d|@))       # expansions that sh has none of
    | \b(?:bash|declare|function|mapfile|pipefail|popd|pushd|readarray|shopt|source|typeset)\b
    | \btrap\b.*\b(?:ERR|DEBUG|RETURN)\b
    """,
    re.VERBOSE,
)
_SUDO = re.compile(r"\bsudo\b")
_AS_SUDO = """\
command -v sudo > /dev/null || sudo() { while [ "${1#-}" != "$1" ]; do shift; done; "$@"; }
"""
_PUSH = re.compile(r"\bgit push\b")
_NO_LOGIN = "a step has no token for its repository: bring one as a secret"
_HISTORY = re.compile(
    r"\bgit (?:describe|merge-base|log|rev-list|diff|tag|shortlog|blame)\b|\bgoreleaser\b"
)
_WITH_HISTORY = "its script asks for the history: `git: full`"


def add_remarks(draft: WorkflowDraft, has_history: bool) -> None:
    """Tells of each step what its script lacks, and gives it what can be given."""
    for step in draft.steps:
        if not step.is_script:
            continue
        if complete_services(step) or step.privileged:
            _remark(draft, step, "privileged", Verdict.CHANGED, _PRIVILEGED)
        if _DOCKER.search(step.script):
            _remark(draft, step, "docker", Verdict.LEFT, _NO_DOCKER)
        if _PUSH.search(step.script):
            _remark(draft, step, "git push", Verdict.LEFT, _NO_LOGIN)
        if has_history and step.git is None and _HISTORY.search(step.script):
            step.git = "full"
            _remark(draft, step, "git", Verdict.CHANGED, _WITH_HISTORY)
        if _SUDO.search(step.script):
            step.script = _AS_SUDO + step.script


def choose_shells(draft: WorkflowDraft) -> None:
    """Once the scripts are whole: where the image has no bash, sh runs what it can run."""
    for step in draft.steps:
        if not step.is_script or step.shell is not None:
            continue
        image = step.image or ""
        if _NO_SHELL.fullmatch(image):
            _remark(draft, step, "image", Verdict.LEFT, _WITHOUT_SHELL)
        elif _BASHLESS.fullmatch(image) and _ASKS_FOR_BASH.search(step.script):
            _remark(draft, step, "image", Verdict.LEFT, _NO_BASH)
        elif _BASHLESS.fullmatch(image):
            step.shell = "sh"
            _remark(draft, step, "image", Verdict.CHANGED, _BY_SH)


def _remark(draft: WorkflowDraft, step: StepDraft, what: str, verdict: Verdict, why: str) -> None:
    draft.ledger.mark(step.place, what, verdict, why, step.notes)
