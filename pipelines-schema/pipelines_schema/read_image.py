"""The `image` of a step, with every mistake noted."""

from __future__ import annotations

from collections.abc import Mapping

from pipelines_schema.expressions import substituted
from pipelines_schema.fields import Field, Reading, one_of
from pipelines_schema.limits import MAX_IMAGE_CHARACTERS
from pipelines_schema.nodes import MapNode
from pipelines_schema.placeholders import is_whole_output, misplaced, only_in_a_tag, output_words
from pipelines_schema.problem import Place

_WHOLE = "let the script write the whole reference, and `${{ outputs.step.key }}` stand alone"
_HINT = "write a slug or an image reference"


def can_be_named(slug: str) -> bool:
    """Whether a step's `image` can name an image by this slug."""
    return _is_one_word(slug) and (slug[0].isalnum() or slug[0] == "_") and "${{" not in slug


def _is_one_word(text: str) -> bool:
    return " " not in text and text.isprintable()


def read_image(
    reading: Reading,
    node: MapNode,
    fields: dict[str, Field],
    called: str,
    places: Mapping[str, str],
) -> str | None:
    """`places` are the words that may stand in it, each with an example."""
    entry = one_of(reading, fields, "image", "imageSlug")
    if entry is None:
        reading.add(node.place, f"{called} needs `image`: a slug or an image reference")
        return None
    image = reading.line_of_text(entry, _HINT, MAX_IMAGE_CHARACTERS, places)
    if image is None:
        return None
    plain = substituted(image, places)
    word = misplaced(image)
    if word is not None:
        reading.add(entry.place, only_in_a_tag(entry.label, word))
    elif output_words([image]) and not is_whole_output(image):
        reading.add(entry.place, f"an output must be all of {entry.label}: {_WHOLE}")
    elif not _is_one_word(plain):
        reading.add(
            entry.place,
            f"{entry.label} must not hold spaces or invisible characters: "
            "write a slug or an image reference such as `python:3.12`",
        )
    elif not can_be_named(plain):
        reading.add(
            entry.place,
            f"{entry.label} must begin with a letter or a digit: write a slug "
            "or an image reference such as `python:3.12`",
        )
    return image


def image_place(reading: Reading, fields: dict[str, Field]) -> Place | None:
    written = next((fields[key] for key in ("image", "imageSlug") if key in fields), None)
    return None if reading.is_json or written is None else written.place
