"""The `reports` of a step, with every mistake noted."""

from __future__ import annotations

from pipelines_schema.fields import Field, Reading, Vocabulary
from pipelines_schema.limits import MAX_REPORT_PATHS
from pipelines_schema.paths import BadPath, normalised_output_path
from pipelines_schema.problem import Place, shown
from pipelines_schema.step_reports import StepReports

REPORTS = Vocabulary(
    where="`reports`",
    known=("junit", "coverage", "summary"),
    synonyms={
        "tests": "write `junit`",
        "test": "write `junit`",
        "xunit": "write `junit`",
        "cobertura": "write `coverage`",
        "lcov": "write `coverage`",
        "coverage_report": "write `coverage`",
        "markdown": "write `summary`",
        "paths": "write `junit`, `coverage` or `summary`, or `outputPaths` beside `reports`",
        "when": "reports are taken also when the step fails: remove the key",
    },
)
_HINT = 'write what is reported where, such as `{junit: "reports/*.xml", coverage: coverage.xml}`'
_PATHS_HINT = "write a path or a pattern, or a list of them"
_SUMMARY_HINT = "write the path of one file of Markdown, such as `summary.md`"
_PATTERN_SIGNS = "*?["


def read_reports(reading: Reading, entry: Field | None) -> StepReports | None:
    if entry is None:
        return None
    node = reading.mapping(entry, _HINT)
    if node is None:
        return None
    if not node.entries:
        reading.add(entry.place, f"`reports` is empty: {_HINT}")
        return None
    parts = reading.fields(node, REPORTS)
    return StepReports(
        junit=_paths(reading, parts.get("junit")),
        coverage=_paths(reading, parts.get("coverage")),
        summary=_summary(reading, parts.get("summary")),
    )


def kept_with_reports(
    output_paths: tuple[str, ...], reports: StepReports | None
) -> tuple[str, ...]:
    """The files are outputs of the step: so the coordinator has them when it has ended."""
    if reports is None:
        return output_paths
    return tuple(dict.fromkeys((*output_paths, *reports.paths)))


def _paths(reading: Reading, entry: Field | None) -> tuple[str, ...]:
    if entry is None:
        return ()
    found: dict[str, None] = {}
    texts = reading.texts(entry, _PATHS_HINT, MAX_REPORT_PATHS, one_allowed=True)
    for place, text in texts:
        path = _path(reading, entry, place, text)
        if path in found:
            reading.add(place, f"{entry.label} names {shown(path)} twice: remove one of them")
        if path is not None:
            found[path] = None
    return tuple(found)


def _summary(reading: Reading, entry: Field | None) -> str | None:
    if entry is None:
        return None
    text = reading.text(entry, _SUMMARY_HINT)
    if text is None or reading.refuse_expressions(entry.value, instead="write the path itself"):
        return None
    path = _path(reading, entry, entry.place, text)
    if path is not None and any(sign in path for sign in _PATTERN_SIGNS):
        reading.add(
            entry.place, f"the path {shown(text)} of {entry.label} is a pattern: {_SUMMARY_HINT}"
        )
        return None
    return path


def _path(reading: Reading, entry: Field, place: Place, text: str) -> str | None:
    try:
        path = normalised_output_path(text)
    except BadPath as error:
        reading.add(place, f"the path {shown(text)} of {entry.label} {error}")
        return None
    if path.endswith("/"):
        instead = _SUMMARY_HINT if entry.name == "summary" else f"write `{path}*.xml`"
        reading.add(place, f"the path {shown(text)} of {entry.label} is a folder: {instead}")
        return None
    return path
