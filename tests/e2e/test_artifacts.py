"""`pushrod artifact list|download`, from what a real step has left."""

from __future__ import annotations

import json
import os
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.processes import Pushrod, Repository, running

WORKFLOW = """\
name: ci
steps:
  - name: make
    image: any
    run: |
      mkdir -p dist/empty; echo hello > dist/app; chmod 755 dist/app; ln -s app dist/link
      ln -s /etc outside
    outputPaths: [dist, outside]
  - {name: doc, image: any, run: "echo text > 'a text'", outputPaths: ["a text"]}
  - {name: none, image: any, run: "true"}
"""


@pytest.fixture(scope="module")
def pushrod(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pushrod]:
    with running(tmp_path_factory.mktemp("pushrod")) as pushrod:
        repository = Repository.create(tmp_path_factory.mktemp("work") / "repository")
        queued = pushrod.push_workflow(repository, pushrod.create_project("app"), WORKFLOW)
        assert pushrod.api.wait_finished(queued["id"])["state"] == "succeeded"
        yield pushrod


def said(pushrod: Pushrod, *arguments: str) -> str:
    ended = pushrod.command("artifact", *arguments)
    assert ended.returncode == 0, ended.stderr
    return ended.stdout


def refused(pushrod: Pushrod, *arguments: str) -> str:
    ended = pushrod.command("artifact", *arguments)
    assert ended.returncode != 0
    assert "Traceback" not in ended.stderr
    return ended.stderr


def test_they_are_listed(pushrod: Pushrod) -> None:
    rows = json.loads(said(pushrod, "list", "app#1", "--json"))
    kinds = {(row["step"], row["name"]): row["kind"] for row in rows}
    assert kinds == {
        ("make", "dist"): "folder",
        ("make", "dist/app"): "file",
        ("make", "dist/empty"): "folder",
        ("make", "dist/link"): "link",
        ("make", "outside"): "link",
        ("doc", "a text"): "file",
    }
    assert "doc\ta text\t5" in said(pushrod, "list", "app#1/doc")


def test_a_builds_are_laid_down_as_they_were(pushrod: Pushrod, tmp_path: Path) -> None:
    said(pushrod, "download", "app#1", "--to", str(tmp_path))
    make = tmp_path / "make"
    assert (make / "dist/link").read_text() == "hello\n"
    assert os.access(make / "dist/app", os.X_OK)
    assert (make / "dist/empty").is_dir()
    assert os.readlink(make / "outside") == "/etc"
    assert (tmp_path / "doc/a text").read_text() == "text\n"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["doc", "make"]
    assert "not empty" in refused(pushrod, "download", "app#1", "--to", str(tmp_path))


def test_a_link_in_the_place_of_a_folder_is_not_followed(pushrod: Pushrod, tmp_path: Path) -> None:
    elsewhere, here = tmp_path / "elsewhere", tmp_path / "here"
    elsewhere.mkdir()
    here.mkdir()
    (elsewhere / "kept").touch()
    (here / "make").symlink_to(elsewhere)
    refused(pushrod, "download", "app#1/make", "--to", str(here))
    (here / "app").symlink_to(elsewhere / "kept")
    words = refused(pushrod, "download", "app#1/make", "dist/app", "--to", str(here))
    assert "is there already" in words
    assert [path.name for path in elsewhere.iterdir()] == ["kept"]
    assert (elsewhere / "kept").read_text() == ""


def test_one_file_is_fetched(pushrod: Pushrod, tmp_path: Path) -> None:
    said(pushrod, "download", "app#1/make", "dist/app", "--to", str(tmp_path / "new"))
    assert (tmp_path / "new/app").read_text() == "hello\n"
    words = refused(pushrod, "download", "app#1/make", "dist/ap", "--to", str(tmp_path))
    assert "step make has no artifact 'dist/ap'; it has: dist/app" in words
    assert "BUILD/STEP" in refused(pushrod, "download", "app#1", "dist/app")


def test_a_zip_file_holds_all(pushrod: Pushrod, tmp_path: Path) -> None:
    path = tmp_path / "all.zip"
    said(pushrod, "download", "app#1", "--zip", str(path))
    with zipfile.ZipFile(path) as archive:
        assert archive.testzip() is None
        assert archive.read("make/dist/app") == b"hello\n"
    assert "is there already" in refused(pushrod, "download", "app#1", "--zip", str(path))
    missing = tmp_path / "none.zip"
    assert "no outputs" in refused(pushrod, "download", "app#1/none", "--zip", str(missing))
    assert not missing.exists()
    assert "no artifacts" in refused(pushrod, "download", "app#1/none", "--to", str(tmp_path))
