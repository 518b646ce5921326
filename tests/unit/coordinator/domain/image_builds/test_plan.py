"""From a request's files to the commit, the name and the tag of its image."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coordinator.domain.image_builds import Bases, Mirrors, RefusedSources
from coordinator.domain.image_builds.image_name import image_name
from coordinator.domain.image_builds.source_files import MAX_FILES, plain_files
from tests.unit.coordinator.domain.image_builds.plans import plan, refused

# Names of files


@pytest.mark.parametrize(
    "name",
    [
        "/etc/passwd", "../x.py", "a/../x.py", "./../x.py", "x/./y.py", "a//b.py", "a/", "",
        ".git/config", "sub/.GIT/hooks/x", ".git./x", "git~1/config", ".gitattributes",
        "sub/.gitmodules", "a\\b.py",
        "a\0b.py", "a\nb.py", "x" * 256, "/".join("a" * 40), "y/" * 600 + "z",
    ],
)  # fmt: skip
def test_a_name_that_could_harm_is_refused(name: str) -> None:
    with pytest.raises(RefusedSources) as refusal:
        plan({"agent.py": "", name: "x"})
    assert refusal.value.refusals[0].field.startswith("files.")


def test_a_name_that_begins_with_this_folder_is_the_name_without_it() -> None:
    built = plan({"./agent.py": "", "././lib/x.py": ""}, entry_point="./agent.py")
    assert {"agent.py", "lib/x.py"} <= built.files.keys()
    assert built.tag == plan({"agent.py": "", "lib/x.py": ""}, entry_point="agent.py").tag
    assert "a.py is there too: send one of them" in refused({"a.py": "1", "./a.py": "2"})


def test_files_and_folders_of_one_name_and_too_many_files_are_refused() -> None:
    assert "can't be a file and a folder at once" in refused({"a.py": "", "a.py/b.py": ""})
    assert "can't be a file and a folder at once" in refused({"a.py": "", "Dockerfile/x": ""})
    assert "the most is 1000" in refused({f"f{i}.py": "" for i in range(MAX_FILES + 1)})
    assert "files is empty" in refused({})


@given(st.dictionaries(st.text(max_size=12), st.text(max_size=80), max_size=5))
def test_any_files_make_a_plan_or_a_refusal(files: dict[str, str]) -> None:
    try:
        built = plan(files)
    except RefusedSources:
        return
    assert plain_files(files).items() <= built.files.items() or "requirements.txt" in built.files


@given(st.text(max_size=200))
def test_any_python_text_makes_a_plan_or_a_refusal(source: str) -> None:
    try:
        built = plan({"agent.py": source})
    except RefusedSources:
        return
    assert built.entry_point == "agent.py"


# Name and tag


def test_the_same_inputs_make_the_same_tag_and_any_other_makes_another() -> None:
    files = {"agent.py": "import yaml", "b.txt": "1"}
    first = plan(files)
    assert plan(dict(reversed(files.items()))).tag == first.tag
    others = [
        plan({**files, "b.txt": "2"}),
        plan({**files, "c.txt": ""}),
        plan(files, name="my_agent"),
        plan(files, account="other"),
        plan(files, requirements="yaml"),
        plan(
            files, bases=Bases(python="python:3.12", node="", go="", go_run="", shell="", static="")
        ),
        plan(files, mirrors=Mirrors(pip_index_url="http://pip.example")),
    ]
    assert len({first.tag, *(other.tag for other in others)}) == 8
    assert re.fullmatch("[0-9a-f]{16}", first.tag)


@pytest.mark.parametrize(
    ("agent", "image"),
    [
        ("my-agent", "my-agent"),
        ("My Agent!", "my-agent"),
        ("a..b__c", "a.b_c"),
        ("-x-", "x"),
        ("Größe/2", "groe-2"),
        ("a_._b", "a.b"),
        ("A - B", "a-b"),
    ],
)
def test_an_images_name_follows_the_registries_rules(agent: str, image: str) -> None:
    assert image_name(agent, field="name") == image


@given(st.text(max_size=150))
def test_any_name_is_made_to_fit_or_refused(agent: str) -> None:
    try:
        name = image_name(agent, field="name")
    except RefusedSources:
        return
    assert re.fullmatch(r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*", name)
    assert len(name) <= 100
