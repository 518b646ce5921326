"""Test files with pytest's assertions, written once for all workers of a run.

In a fresh clone each worker rewrites them all at the same time, three seconds of processor time
for each. What pytest has for it is not public: where that has changed, workers do so as ever.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest


def begin(config: pytest.Config) -> None:
    """Before there are workers, in the process that starts them."""
    if not config.getoption("numprocesses", None) or hasattr(config, "workerinput"):
        return
    try:
        from _pytest.assertion.rewrite import assertstate_key, get_cache_dir
    except ImportError:
        return
    if assertstate_key not in config.stash:
        return  # by --assert=plain
    for file in _files(config):
        _write(file, get_cache_dir(file), config)


def _files(config: pytest.Config) -> Iterator[Path]:
    """That workers will collect. A few too many do no harm."""
    ignored = [Path(path).absolute() for path in config.getoption("ignore", None) or ()]
    for argument in config.args:
        path = Path(argument.partition("::")[0]).absolute()
        for file in [path] if path.is_file() else sorted(path.rglob("*.py")):
            is_test = file.name.startswith("test_") or file.name == "conftest.py"
            if is_test and not any(file.is_relative_to(one) for one in ignored):
                yield file


def _write(file: Path, folder: Path, config: pytest.Config) -> None:
    from _pytest.assertion.rewrite import PYC_TAIL, _rewrite_test, _write_pyc, assertstate_key

    written = folder / (file.stem + PYC_TAIL)
    if written.exists() and written.stat().st_mtime >= file.stat().st_mtime:
        return
    folder.mkdir(parents=True, exist_ok=True)
    source, code = _rewrite_test(file, config)
    _write_pyc(config.stash[assertstate_key], code, source, written)
