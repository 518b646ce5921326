from __future__ import annotations

import posixpath

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines_schema import BadPath, normalised_cache_dir, normalised_output_path


@pytest.mark.parametrize(
    ("written", "normalised"),
    [
        ("dist", "dist"),
        ("./dist//a/./b", "dist/a/b"),
        ("reports/", "reports/"),
        ("reports//", "reports/"),
        ("reports/.", "reports/"),
        ("/workspace/x", "x"),
        ("//workspace//x/", "x/"),
        ("dist/*.whl", "dist/*.whl"),
        ("**/*.log", "**/*.log"),
        ("..x/...", "..x/..."),
        ("with space", "with space"),
    ],
)
def test_an_output_path_becomes_relative_to_the_workspace(written: str, normalised: str) -> None:
    assert normalised_output_path(written) == normalised


@pytest.mark.parametrize(
    "written",
    ["", " ", ".", "./", "/", "/workspace", "..", "../x", "x/..", "x/../y", "/workspace/../x",
     "/etc", "/workspaces/x", "~", "~/x", "./~", "./ x", "a\0b", "a\nb", "a\x9bb", "\ud800", " a",
     "a\\b", "x" * 1001],
)  # fmt: skip
def test_an_output_path_that_leaves_the_workspace_or_names_nothing_is_refused(written: str) -> None:
    with pytest.raises(BadPath):
        normalised_output_path(written)


@given(st.text(alphabet="ab./~ *", max_size=12))
@settings(deadline=None)
def test_a_normalised_output_path_stays_inside_and_stays_the_same(written: str) -> None:
    try:
        path = normalised_output_path(written)
    except BadPath:
        return
    assert normalised_output_path(path) == path
    assert posixpath.normpath(f"/workspace/{path}") == f"/workspace/{path}".rstrip("/")


@pytest.mark.parametrize(
    ("written", "normalised"),
    [
        ("/root/.cache/pip/", "/root/.cache/pip"),
        ("//var//cache/./x", "/var/cache/x"),
        ("~/.cache//uv/", "~/.cache/uv"),
        ("/workspace/node_modules", "/workspace/node_modules"),
        ("/etcetera", "/etcetera"),
        ("node_modules", "/workspace/node_modules"),
        ("./.cache//x/", "/workspace/.cache/x"),
        ("a/~", "/workspace/a/~"),
        ("etc", "/workspace/etc"),
    ],
)
def test_a_cache_dir_is_absolute_below_home_or_in_the_workspace(
    written: str, normalised: str
) -> None:
    assert normalised_cache_dir(written) == normalised


@pytest.mark.parametrize(
    "written",
    ["", "/", "//", "/.", "/workspace", "/workspace/.", ".", "./", "../x", "/x/..", "~", "~/",
     "~x/y", "$HOME/x", "${X}/y",
     "/proc", "/proc/1", "/sys/x", "/dev/shm", "/etc/ssl", "/x/*", "/a\0b"],
)  # fmt: skip
def test_a_cache_dir_that_can_not_be_mounted_is_refused(written: str) -> None:
    with pytest.raises(BadPath):
        normalised_cache_dir(written)
