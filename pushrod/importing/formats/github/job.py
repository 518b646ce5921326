"""A GitHub job on its way to one step: its parts in one script."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from pushrod.importing.conditions import Untranslatable
from pushrod.importing.draft import StepDraft, Value
from pushrod.importing.expansions import OPENING, filled
from pushrod.importing.formats.github.expressions import Name, parsed
from pushrod.importing.formats.github.in_scripts import expansion
from pushrod.importing.formats.github.meaning import Scope
from pushrod.importing.formats.github.words import VARIABLES
from pushrod.importing.keeps import is_among, output
from pushrod.importing.ledger import Keys, Verdict
from pushrod.importing.shell_text import (
    Expansion,
    expanded,
    exported,
    inside_double_quotes,
    subshell,
    warning,
    with_variables,
)

_OUTSIDE = re.compile(r"\$\{\{.*?\}\}")
_STATEFUL = re.compile(r"\b(cd|exit|set|trap|exec|pushd|shopt|source)\b")
_FILES = re.compile(r"\bGITHUB_(ENV|PATH)\b")
_FROM_FILES = """\
export GITHUB_ENV="$(mktemp)" GITHUB_PATH="$(mktemp)"
take_github_files() {
while IFS= read -r line; do
case "$line" in [A-Za-z_]*=*) export "$line" ;; esac
done < "$GITHUB_ENV"
while IFS= read -r line; do PATH="$line:$PATH"; done < "$GITHUB_PATH"
: > "$GITHUB_ENV"
: > "$GITHUB_PATH"
}
"""
_SUMMARY = "job-summary.md"
_VARIABLE = re.compile(r"\bGITHUB_STEP_SUMMARY\b")
AT_END = """\
at_end() {
code=$?
trap - EXIT
set +e
%sexit "$code"
}
trap at_end EXIT
"""
_ONE_AT_END = """\
%s(
set -e
%s)
last=$?
[ "$code" != 0 ] || code=$last
"""


@dataclass(slots=True)
class Job:
    step: StepDraft
    keys: Keys
    scope: Scope
    has_container: bool = False
    toolchain: str | None = None
    """Whose image the step has."""
    exports: str = ""
    parts: list[str] = field(default_factory=list)
    at_end: list[str] = field(default_factory=list)
    image_names: list[str] = field(default_factory=list)
    builds: list[StepDraft] = field(default_factory=list)
    commands: int = 0
    """How many parts of the script run something that the workflow says."""
    lost: str | None = None
    """What was not imported since the last of these commands."""

    def note(self, what: str, verdict: Verdict, why: str) -> None:
        self.keys.at(self.keys.node, what, verdict, why)

    def outside(self, text: str) -> str:
        """A text outside of scripts, with expressions that may stand there; others stay behind as
        nothing, and are told."""
        return filled(text, self._outside_word)

    def _outside_word(self, expression: str) -> str:
        try:
            one = parsed(expression)
            word = self.scope.word(one).outside if isinstance(one, Name) else None
            if word is not None:
                return f"{OPENING} {word} }}}}"
            why = "it can't stand outside of scripts"
        except Untranslatable as error:
            why = str(error)
        self.note(f"{OPENING} {expression} }}}}", Verdict.LEFT, why)
        return ""

    def in_script(self, text: str) -> str:
        """A script, with its expressions as variables, put as their places need it."""
        done, stuck = expanded(text, self._expansion)
        if stuck:
            why = "it stands where bash expands nothing: hand the value over in another way"
            self.note("run", Verdict.LEFT, why)
        self.step.secrets += self.scope.secrets
        self.scope.secrets.clear()
        return done

    def _expansion(self, expression: str) -> Expansion:
        try:
            return expansion(expression, self.scope)
        except Untranslatable as error:
            self.note(f"{OPENING} {expression} }}}}", Verdict.LEFT, str(error))
            return Expansion("")

    def inner(self, text: str) -> str:
        """The inside of double quotes for a value."""
        value = filled(text, lambda one: self._expansion(one).text, inside_double_quotes)
        self.step.secrets += self.scope.secrets
        self.scope.secrets.clear()
        return value

    def variables(self, env: dict[str, str]) -> tuple[dict[str, str], str]:
        """Those that `env` can hold, and lines that export the others."""
        plain: dict[str, str] = {}
        lines = ""
        for name, text in env.items():
            words = _OUTSIDE.findall(text)
            if not words:
                plain[name] = text
            elif (value := self.inner(text)) != f"${{{name}}}":
                lines += exported(name, value)
        return plain, lines

    def cache(self, folders: Sequence[Value]) -> str:
        known = [one["path"] if isinstance(one, dict) else one for one in self.step.cache_dirs]
        for one in folders:
            path = one["path"] if isinstance(one, dict) else one
            if path not in known:
                self.step.cache_dirs.append(one)
                known.append(path)
        return ""

    def output(self, path: str, keep: str | None = None) -> None:
        if path and not is_among(path, self.step.output_paths):
            self.step.output_paths.append(output(path, keep))

    def add_build(self, build: StepDraft) -> None:
        self.builds.append(build)

    def missing(self, what: str, why: str) -> str:
        """A line for what is not imported, and matters to what comes behind it."""
        self.note(what, Verdict.LEFT, why)
        self.lost = what
        return warning(what)

    def warned(self, what: str, why: str) -> str:
        """A line for what is not imported, and what the job does well without."""
        self.note("uses", Verdict.LEFT, why)
        return warning(what)

    def script(self) -> str:
        """All parts in their order. One that ends with something unknown fails there: what the job
        was for has not been done."""
        body = "".join(self.parts)
        ends = "".join(self.at_end)
        whole = body + ends + self.exports
        files = _FROM_FILES if _FILES.search(whole) else ""
        summary = ""
        if _VARIABLE.search(whole):
            summary = exported("GITHUB_STEP_SUMMARY", f"$PUSHROD_WORKSPACE/{_SUMMARY}")
            self.output(_SUMMARY)
            self.step.reports["summary"] = _SUMMARY
        known = with_variables(whole, VARIABLES, self.step.env)
        at_end = AT_END % ends if ends else ""
        last = "exit 1\n" if self.lost else ""
        return known + files + summary + self.exports + at_end + body + last


def part(
    name: str | None,
    script: str,
    *,
    exports: str = "",
    folder: str | None = None,
    test: str | None = None,
    may_fail: bool = False,
) -> str:
    """One of the job's steps, apart from the others where it could disturb them."""
    title = " ".join((name or "").split())
    head = f"# {title}\n" if title and OPENING not in title else ""
    apart = bool(exports or folder or may_fail or _STATEFUL.search(script))
    body = subshell(script, exports, folder, may_fail) if apart else script.rstrip() + "\n"
    if test is not None:
        body = f"if {test}; then\n{body}fi\n"
    if _FILES.search(script):
        body += "take_github_files\n"
    return head + body


def part_at_end(script: str, only_after_failure: bool, test: str | None) -> str:
    """One that runs when the script ends, however that is."""
    tests = ['[ "$code" = 0 ] || '] if only_after_failure else []
    inner = f"if {test}; then\n{script.rstrip()}\nfi\n" if test else script.rstrip() + "\n"
    return _ONE_AT_END % ("".join(tests), inner)
