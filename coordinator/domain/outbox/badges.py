"""Badges: a picture of how the last build of a workflow and branch ended. Pure."""

from __future__ import annotations

from xml.sax.saxutils import escape, quoteattr

from coordinator.domain.lifecycle import BuildState

MAX_LABEL_CHARACTERS = 60
UNKNOWN = "no builds"
_WORDS = {
    BuildState.HELD: "waiting",
    BuildState.QUEUED: "queued",
    BuildState.RUNNING: "running",
    BuildState.SUCCEEDED: "passing",
    BuildState.FAILED: "failing",
    BuildState.CANCELLED: "cancelled",
}
_COLOURS = {"passing": "#2c7a3f", "failing": "#b3261e", "running": "#1f5fa8", "queued": "#1f5fa8"}
_GREY = "#5c5c5c"
_HEIGHT, _MARGIN, _CHARACTER = 20, 6, 7


def badge(label: str, state: BuildState | None) -> str:
    """An SVG; `state` is None where there is no build."""
    words = UNKNOWN if state is None else _WORDS[state]
    label = printable(label)[:MAX_LABEL_CHARACTERS]
    left, right = _width(label), _width(words)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{left + right}" height="{_HEIGHT}" '
        f'role="img" aria-label={quoteattr(f"{label}: {words}")}>'
        f"<title>{escape(f'{label}: {words}')}</title>"
        f'<rect width="{left}" height="{_HEIGHT}" fill="#3c3c3c"/>'
        f'<rect x="{left}" width="{right}" height="{_HEIGHT}" fill="{_COLOURS.get(words, _GREY)}"/>'
        '<g fill="#fff" font-family="Verdana,DejaVu Sans,sans-serif" font-size="11" '
        'text-anchor="middle">'
        f"{_text(label, left / 2, left)}{_text(words, left + right / 2, right)}</g></svg>"
    )


def _text(text: str, middle: float, width: int) -> str:
    return (
        f'<text x="{middle:g}" y="14" textLength="{width - 2 * _MARGIN}" '
        f'lengthAdjust="spacingAndGlyphs">{escape(text)}</text>'
    )


def _width(text: str) -> int:
    return max(len(text), 1) * _CHARACTER + 2 * _MARGIN


def printable(text: str) -> str:
    """What may stand in XML, in one line."""
    return "".join(c if c.isprintable() else " " for c in text)
