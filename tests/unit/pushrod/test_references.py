from __future__ import annotations

from typing import Any

import pytest

from pushrod.errors import CommandError, NotFoundError
from pushrod.references import (
    BuildReference,
    choose_project,
    choose_step,
    choose_workflow,
    parse_build_reference,
    split_step,
)

ID = "0b6c1c62-3f0a-4a53-9c6e-7f2f0a1a9d11"


def project(account: str, slug: str, **more: Any) -> dict[str, Any]:
    return {"account": account, "slug": slug, **more}


def test_a_build_is_named_by_its_id_or_by_its_number_in_a_project() -> None:
    assert parse_build_reference(ID.upper()) == BuildReference(id=ID)
    assert parse_build_reference("hello#12") == BuildReference(project="hello", number=12)
    assert parse_build_reference("acme/hello#1") == BuildReference(project="acme/hello", number=1)


@pytest.mark.parametrize("text", ["", "hello", "#3", "hello#", "hello#0", "hello#x", "3", ID[:-1]])
def test_anything_else_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(CommandError, match="hello#3"):
        parse_build_reference(text)


@pytest.mark.parametrize(
    ("text", "build", "step"),
    [
        ("hello#3", "hello#3", None),
        ("hello#3/test", "hello#3", "test"),
        ("acme/hello#3/test", "acme/hello#3", "test"),
        ("acme/hello#3", "acme/hello#3", None),
        (f"{ID}/test", ID, "test"),
        (ID, ID, None),
        ("hello#3/test (3.11)/unit", "hello#3", "test (3.11)/unit"),
        (f"{ID}/part #1", ID, "part #1"),
    ],
)
def test_the_step_stands_behind_the_build(text: str, build: str, step: str | None) -> None:
    assert split_step(text) == (build, step)


def test_a_project_is_found_by_slug_and_by_id() -> None:
    projects = [project("acme", "hello", id=ID), project("acme", "other")]
    assert choose_project(projects, "hello")["id"] == ID
    assert choose_project(projects, ID)["slug"] == "hello"


def test_a_slug_of_two_accounts_needs_the_account() -> None:
    projects = [project("acme", "hello"), project("blue", "hello")]
    with pytest.raises(CommandError, match="acme/hello or blue/hello"):
        choose_project(projects, "hello")
    assert choose_project(projects, "blue/hello")["account"] == "blue"


def test_an_unknown_project_is_answered_with_those_there_are() -> None:
    with pytest.raises(NotFoundError, match="there are: hello"):
        choose_project([project("acme", "hello")], "helo")
    with pytest.raises(NotFoundError, match="pushrod project create"):
        choose_project([], "hello")


def test_a_step_is_found_by_name_or_id_and_an_unknown_one_names_the_others() -> None:
    build = {"steps": [{"id": ID, "name": "lint"}, {"id": "2", "name": "test"}]}
    assert choose_step(build, "test")["id"] == "2"
    assert choose_step(build, ID)["name"] == "lint"
    with pytest.raises(NotFoundError, match="it has: lint, test"):
        choose_step(build, "deploy")


def test_a_file_is_asked_for_by_its_name_and_what_the_api_made_by_its_id() -> None:
    file, made = {"id": "1", "name": "ci", "path": ".pushrod.yml"}, {"id": "2", "name": "api"}
    assert choose_workflow([file], None) == "ci"
    assert choose_workflow([file], ".pushrod.yml") == ".pushrod.yml"
    assert choose_workflow([file], "of another branch") == "of another branch"
    assert choose_workflow([made], None) == choose_workflow([file, made], "api") == "2"
    with pytest.raises(CommandError, match=r"which workflow.*\.pushrod\.yml, api"):
        choose_workflow([file, made], None)
    with pytest.raises(NotFoundError, match="--workflow"):
        choose_workflow([], None)
