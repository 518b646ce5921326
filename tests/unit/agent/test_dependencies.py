"""What a step gets of its dependencies: nothing of it is laid through what another one has."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from agent.artifact_errors import ArtifactError
from agent.batches import divided
from agent.dependencies import NS, chosen_inputs, modified_ns
from agent.kept_artifacts import KeptArtifacts
from agent.output_tree import FoundFile, read_tree
from pipelines_schema.contract_outputs import (
    BATCH_BYTES,
    OUTPUTS_AT_ONCE,
    ArtifactRef,
    DependencySpec,
    OutputFolder,
    OutputLink,
)


def file(name: str, sha256: str = "") -> ArtifactRef:
    return ArtifactRef(name=name, size=1, sha256=sha256, url="")


def link(name: str, target: str = "/etc") -> OutputLink:
    return OutputLink(name=name, target=target)


def folder(name: str) -> OutputFolder:
    return OutputFolder(name=name)


def step(name: str, *things: ArtifactRef | OutputLink | OutputFolder) -> DependencySpec:
    return DependencySpec(
        step_id=name,
        name=name,
        artifacts=[thing for thing in things if isinstance(thing, ArtifactRef)],
        links=[thing for thing in things if isinstance(thing, OutputLink)],
        folders=[thing for thing in things if isinstance(thing, OutputFolder)],
    )


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (link("p"), file("p/passwd")),
        (link("p"), link("p/x")),
        (link("p"), folder("p")),
        (link("p"), folder("p/x")),
        (link("a/p"), file("a/p/b/c")),
        (file("p"), file("p/x")),
        (file("p"), folder("p")),
    ],
)
@pytest.mark.parametrize("turned", [False, True])
def test_a_link_or_file_of_one_step_is_never_anothers_folder(
    one: OutputLink | ArtifactRef, other: OutputLink | ArtifactRef | OutputFolder, turned: bool
) -> None:
    steps = [step("first", one), step("second", other)]
    with pytest.raises(ArtifactError, match="disagree") as raised:
        chosen_inputs(steps[::-1] if turned else steps)
    assert "first" in str(raised.value)
    assert "second" in str(raised.value)


def test_not_even_within_one_step() -> None:
    with pytest.raises(ArtifactError, match="disagree"):
        chosen_inputs([step("only", link("p"), file("p/x"))])


@pytest.mark.parametrize("name", ["../x", "/etc/x", "a/../x", "a//b", ".", "a\0"])
@pytest.mark.parametrize("make", [file, link, folder])
def test_a_name_that_leads_out_is_refused(name: str, make: object) -> None:
    with pytest.raises(ArtifactError, match="not a relative path"):
        chosen_inputs([step("one", make(name))])  # type: ignore[operator]


def test_of_two_things_of_one_name_the_later_one_counts() -> None:
    inputs = chosen_inputs(
        [
            step("first", file("x", "1"), link("l", "a"), link("was"), folder("d")),
            step("second", file("x", "2"), link("l", "b"), file("was", "3"), folder("d")),
        ]
    )
    assert {(one.name, one.sha256) for _, one in inputs.files} == {("x", "2"), ("was", "3")}
    assert inputs.links == [link("l", "b")]
    assert inputs.folders == [folder("d")]


def test_a_batch_keeps_both_limits() -> None:
    assert [len(batch) for batch in divided(range(2 * OUTPUTS_AT_ONCE + 1), lambda _: 0)] == [
        OUTPUTS_AT_ONCE,
        OUTPUTS_AT_ONCE,
        1,
    ]
    half = BATCH_BYTES // 2
    assert list(divided([half, half, 1, half], lambda size: size)) == [[half, half], [1, half]]
    assert list(divided([], lambda size: size)) == []


def test_a_tree_is_read_without_following_its_links(tmp_path: Path) -> None:
    (tmp_path / "d/e").mkdir(parents=True)
    (tmp_path / "d/f").write_text("x")
    (tmp_path / "d/etc").symlink_to("/etc")
    (tmp_path / "self").symlink_to(".")
    tree = read_tree(tmp_path)
    assert [one.name for one in tree.files] == ["d/f"]
    assert tree.links == [link("d/etc"), link("self", ".")]
    assert [one.name for one in tree.folders] == ["d", "d/e"]


def kept_file(folder: Path, name: str, content: str) -> FoundFile:
    path = folder / name
    path.write_text(content)
    return FoundFile(path=path, name=name, mode=0o644, size=len(content), modified=0)


DIGESTS = {
    "a": "ca978112ca1bbdcafac231b39a23dc4da786eff8147c4e72b9807785afee48bb",
    "b": "3e23e8160039594a33894f6564e1b1348bbd7a0088d42c4acb73eeaed59c009d",
}


def test_what_is_kept_is_copied_and_never_shared(tmp_path: Path) -> None:
    kept = KeptArtifacts(tmp_path / "kept", min_free_bytes=0)
    kept.keep([kept_file(tmp_path, "f", "a")], [DIGESTS["a"]])
    one, other = tmp_path / "one", tmp_path / "other"
    assert kept.copy(DIGESTS["a"], 1, one)
    assert kept.copy(DIGESTS["a"], 1, other)
    assert one.read_text() == other.read_text() == "a"
    assert (
        len({os.stat(path).st_ino for path in (one, other, tmp_path / "kept" / DIGESTS["a"])}) == 3
    )
    assert not kept.copy(DIGESTS["b"], 1, one)
    assert not kept.copy(DIGESTS["a"], 2, one)


def test_what_was_changed_where_it_is_kept_is_not_taken(tmp_path: Path) -> None:
    kept = KeptArtifacts(tmp_path / "kept", min_free_bytes=0)
    kept.keep([kept_file(tmp_path, "f", "a")], [DIGESTS["a"]])
    (tmp_path / "kept" / DIGESTS["a"]).write_text("b")
    assert not kept.copy(DIGESTS["a"], 1, tmp_path / "one")


def test_what_was_asked_for_last_is_kept_longest(tmp_path: Path) -> None:
    kept = KeptArtifacts(tmp_path / "kept", min_free_bytes=0, max_bytes=1)
    kept.keep([kept_file(tmp_path, name, name) for name in "ab"], [DIGESTS["a"], DIGESTS["b"]])
    assert not kept.copy(DIGESTS["a"], 1, tmp_path / "one")
    assert kept.copy(DIGESTS["b"], 1, tmp_path / "one")
    assert [path.name for path in (tmp_path / "kept").iterdir()] == [DIGESTS["b"]]


def test_what_is_kept_goes_before_the_disk_is_full(tmp_path: Path) -> None:
    folder = tmp_path / "kept"

    def free(_: Path) -> int:
        return 10 - len(list(folder.iterdir()))

    kept = KeptArtifacts(folder, min_free_bytes=8, free_bytes_at=free)
    files = [kept_file(tmp_path, name, name) for name in "abc"]
    kept.keep(files, [*DIGESTS.values(), "c" * 64])
    assert {path.name for path in folder.iterdir()} == {DIGESTS["b"], "c" * 64}
    kept.make_room(1)
    assert {path.name for path in folder.iterdir()} == {"c" * 64}
    kept.make_room(100)
    assert list(folder.iterdir()) == []
    assert not kept.copy("c" * 64, 1, tmp_path / "one")


@pytest.mark.parametrize(
    ("sources_ns", "expected"),
    [
        (None, 7 * NS),
        (7 * NS - 1, 7 * NS),
        (7 * NS, 7 * NS + 1),
        (8 * NS - 1, 8 * NS),
        (8 * NS, 7 * NS),
    ],
)
def test_an_output_is_not_older_than_its_sources_by_the_parts_of_a_second_it_lost(
    sources_ns: int | None, expected: int
) -> None:
    assert modified_ns(7, sources_ns) == expected
