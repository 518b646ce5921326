"""Files of other systems, each with what is made of it, whole: `NAME.imported` beside it.

`python -m tests.unit.pushrod.importing.samples` writes these anew; read the difference.
"""

from __future__ import annotations

from pathlib import Path

from pushrod.commands.import_ import repository_file
from pushrod.importing import FORMATS, Choices, Format, Imported, imported
from pushrod.importing.images import DEFAULT_IMAGE
from pushrod.importing.ledger import said

ROOT = Path(__file__).parents[3] / "corpus/import"
CHOICES = Choices(image=DEFAULT_IMAGE, default_branch="main")


def samples() -> list[Path]:
    """Single files, and folders that are repositories."""
    found = (one for folder in ROOT.iterdir() for one in folder.iterdir())
    return sorted(one for one in found if one.suffix != ".imported")


def format_of(sample: Path) -> Format:
    return next(form for form in FORMATS if form.name == sample.parent.name)


def result(sample: Path) -> Imported:
    """What is made of a sample."""
    form = format_of(sample)
    if sample.is_dir():
        found = [one for pattern in form.patterns for one in sorted(sample.glob(pattern))]
        files = {one.relative_to(sample).as_posix(): one.read_bytes() for one in found}
        return imported(form, files, CHOICES, lambda name: repository_file(sample, name))
    path = form.patterns[0].replace("*", sample.stem)
    return imported(form, {path: sample.read_bytes()}, CHOICES, lambda name: None)


def told(done: Imported) -> str:
    """Everything that is written and said."""
    parts = [f"=== {path}\n{text}" for path, text in done.workflows.items()]
    for report in done.reports:
        parts.append(
            f"=== {report.file}: {report.carried} carried, {report.changed} changed, "
            f"{report.left} left\n"
        )
        parts += [f"{said(one)}\n" for one in report.findings]
    return "".join(parts)


def expected(sample: Path) -> Path:
    return sample.with_name(f"{sample.stem}.imported")


if __name__ == "__main__":
    for one in samples():
        expected(one).write_text(told(result(one)))
