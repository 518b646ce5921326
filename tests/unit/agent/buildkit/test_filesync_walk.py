from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from agent.engines.buildkit.filesync import (
    GO_DIRECTORY,
    GO_SYMLINK,
    UnsendableTreeError,
    contents,
    walk,
)
from agent.engines.buildkit.ignore_patterns import TreeFilter, ignore_patterns
from agent.engines.buildkit.odd_names import OddNames, sent_name
from agent.engines.buildkit.pb import fsutil_pb2


def stats(*layers: Path) -> list[fsutil_pb2.Stat]:
    return [fsutil_pb2.Packet.FromString(one.packet).stat for one in walk(layers, "w")]


def make(root: Path, *paths: str) -> Path:
    for path in paths:
        file = root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(f"{root.name}:{path}")
    return root


def test_entries_come_depth_first_with_names_sorted_by_their_bytes(tmp_path: Path) -> None:
    make(tmp_path, "a/z", "a-b", "B", "é", "a.c/d")

    paths = [one.path for one in stats(tmp_path)]

    assert paths == ["w", "w/B", "w/a", "w/a/z", "w/a-b", "w/a.c", "w/a.c/d", "w/é"]


def test_modes_sizes_and_link_targets_are_told(tmp_path: Path) -> None:
    make(tmp_path, "run").joinpath("run").chmod(0o4755)
    (tmp_path / "link").symlink_to("run")
    (tmp_path / "folder").mkdir(mode=0o750)

    by_path = {one.path: one for one in stats(tmp_path)}

    assert by_path["w/run"].mode == 0o755 | 1 << 23
    assert by_path["w/run"].size == (tmp_path / "run").stat().st_size
    assert (by_path["w/link"].mode, by_path["w/link"].linkname) == (GO_SYMLINK | 0o777, "run")
    assert by_path["w/folder"].mode & GO_DIRECTORY


def test_a_later_layer_covers_the_earlier_and_folders_join(tmp_path: Path) -> None:
    below = make(tmp_path / "below", "same", "folder/below", "was-folder/x")
    above = make(tmp_path / "above", "same", "folder/above", "was-folder")

    entries = list(walk([below, above], "w"))
    sent = [fsutil_pb2.Packet.FromString(one.packet).stat.path for one in entries]
    files = {path: one.file for path, one in zip(sent, entries, strict=True)}

    assert sent == [
        "w",
        "w/folder",
        "w/folder/above",
        "w/folder/below",
        "w/same",
        "w/was-folder",
    ]
    assert files["w/same"] == str(above / "same")


def test_a_folder_covers_a_link_and_is_not_sent_through_it(tmp_path: Path) -> None:
    elsewhere = make(tmp_path / "elsewhere", "secret")
    below = tmp_path / "below"
    below.mkdir()
    (below / "out").symlink_to(elsewhere)
    above = make(tmp_path / "above", "out/file")

    assert [one.path for one in stats(below, above)] == ["w", "w/out", "w/out/file"]


def test_a_name_that_is_not_utf8_is_refused_by_name_unless_it_is_left_out(tmp_path: Path) -> None:
    os.close(os.open(os.fsencode(tmp_path) + b"/x-\xff", os.O_CREAT))

    with pytest.raises(UnsendableTreeError, match=r"xff.*\.dockerignore"):
        stats(tmp_path)
    wanted = TreeFilter(ignore=ignore_patterns(["x-*"]))
    assert list(walk([tmp_path], "", wanted)) == []


def test_names_that_are_not_utf8_are_sent_under_others_in_their_order(tmp_path: Path) -> None:
    os.makedirs(os.fsencode(tmp_path) + b"/\xff/deep")
    for name in (b"\xff/deep/\xfe'", b"plain", b".a"):
        os.close(os.open(os.fsencode(tmp_path) + b"/" + name, os.O_CREAT))
    odd = OddNames()

    sent = [
        fsutil_pb2.Packet.FromString(one.packet).stat.path for one in walk([tmp_path], "w", odd=odd)
    ]

    folder, file = sent_name(b"\xff").decode(), sent_name(b"\xfe'").decode()
    assert sent[1:] == [
        "w/.a",
        f"w/{folder}",
        f"w/{folder}/deep",
        f"w/{folder}/deep/{file}",
        "w/plain",
    ]
    assert odd.script().decode().splitlines()[-2:] == [
        f"named mv '{folder}/deep/{file}' '{folder}/deep/\\0376\\0047'",
        f"named mv '{folder}' '\\0377'",
    ]


@pytest.mark.parametrize("shell", ["bash", "dash"])
def test_names_that_are_not_utf8_are_given_back_by_any_shell(tmp_path: Path, shell: str) -> None:
    if shutil.which(shell) is None:
        pytest.skip(f"this machine has no {shell}")
    name, target = b"a %s\xff8'\"$x\\n\n", b"\xfe*\n"
    odd = OddNames()
    odd.rename("-d", name)
    odd.link("-d/link", target)
    (tmp_path / "-d").mkdir()
    (tmp_path / "-d" / sent_name(name).decode()).write_text("x")

    subprocess.run([shell, "-e", "-c", odd.script()], cwd=tmp_path, check=True)

    assert sorted(os.listdir(os.fsencode(tmp_path / "-d"))) == [name, b"link"]
    assert os.readlink(os.fsencode(tmp_path / "-d" / "link")) == target


def test_where_all_names_are_plain_there_is_nothing_to_do() -> None:
    assert OddNames().script() == b""


def test_pipes_are_left_out(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")

    assert [one.path for one in stats(tmp_path)] == ["w"]


def test_a_files_content_is_sent_whole_and_ends_with_an_empty_packet(tmp_path: Path) -> None:
    content = os.urandom(300_000)
    (tmp_path / "big").write_bytes(content)
    (tmp_path / "empty").write_bytes(b"")
    entries = list(walk([tmp_path], "w"))

    sent = [fsutil_pb2.Packet.FromString(packet) for packet, _ in contents(entries, [1, 2])]

    assert b"".join(one.data for one in sent if one.ID == 1) == content
    assert [one.ID for one in sent if not one.data] == [1, 2]


def test_asking_for_the_content_of_a_folder_is_refused(tmp_path: Path) -> None:
    entries = list(walk([tmp_path], "w"))

    with pytest.raises(UnsendableTreeError, match="entry 0"):
        list(contents(entries, [0]))
