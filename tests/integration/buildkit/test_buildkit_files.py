"""What goes into a step's workspace and what comes out of it."""

from __future__ import annotations

import asyncio
import os
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from agent.engines.protocol import Outcome

if TYPE_CHECKING:
    from .conftest import Bench

pytestmark = pytest.mark.engine


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    root = tmp_path / "tree"
    (root / "bin").mkdir(parents=True)
    (root / "bin/run").write_text("#!/bin/bash\necho ran\n")
    (root / "bin/run").chmod(0o755)
    (root / "plain").write_text("plain")
    (root / "plain").chmod(0o640)
    (root / "link").symlink_to("bin/run")
    (root / "empty").mkdir()
    (root / "ümlaut $x 'y'").write_text("odd")
    return root


async def test_the_source_keeps_content_permissions_and_links(one_bench: Bench, tree: Path) -> None:
    source = one_bench.source(folder=tree, key=str(tree))

    ran = await one_bench.run(
        "./link; stat -c %a bin/run plain; readlink link; ls -d empty; cat 'ümlaut $x '*; "
        "echo new > plain; touch added",
        source=source,
    )

    assert ran.log.stdout == b"ran\n755\n640\nbin/run\nempty\nodd"
    assert (tree / "plain").read_text() == "plain"
    assert (source.lent, source.in_use) == (1, False)


ODD = os.fsencode("dir-\udcff/latin-\udce9 $x'\n-é")
LOOK = (
    "{ find . -print0 | LC_ALL=C sort -z; readlink dir-*/link*; readlink to-odd; } | "
    "od -An -v -tx1 | tr -d ' \\n'"
)


async def test_names_that_are_not_utf8_are_in_the_workspace_byte_by_byte(
    one_bench: Bench, tree: Path
) -> None:
    root = os.fsencode(tree)
    os.mkdir(os.path.join(root, b"dir-\xff"))
    with open(os.path.join(root, ODD), "wb") as file:
        file.write(b"odd content")
    os.symlink(b"\xfe target", os.path.join(root, b"dir-\xff", b"link-\xfd"))
    os.symlink(b"\xfe target", os.path.join(root, b"to-odd"))
    listed = subprocess.run(["bash", "-c", LOOK], cwd=tree, capture_output=True, check=True)

    source = one_bench.source(folder=tree, key=str(tree))
    ran = await one_bench.run(f"{LOOK}; cat dir-*/latin*", source=source)
    assert ran.log.stdout == listed.stdout + b"odd content"

    # The engine keeps what it was sent: what has another name now has it there, too.
    os.rename(os.path.join(root, ODD), os.path.join(root, b"dir-\xff", b"\xe8"))
    ran = await one_bench.run("cat $'dir-\\xff/\\xe8'; ls dir-* | wc -l", source=source)
    assert ran.log.stdout == b"odd content2\n"


async def test_the_source_is_given_back_before_the_script_runs(
    one_bench: Bench, tree: Path
) -> None:
    source = one_bench.source(folder=tree, key=str(tree))
    log = one_bench.log()
    running = asyncio.create_task(one_bench.run("echo on; sleep 1", source=source, log=log))

    await log.wait_for(b"on\n")

    assert (source.lent, source.in_use, running.done()) == (1, False, False)
    await running


async def test_the_source_belongs_to_the_images_user(one_bench: Bench, tree: Path) -> None:
    ran = await one_bench.run(
        "stat -c %u:%g . bin bin/run; echo x >> bin/run",
        source=one_bench.source(folder=tree, key=str(tree)),
        image=one_bench.builder_image,
    )

    assert (ran.result.exit_code, ran.log.stdout) == (0, b"1000:1000\n" * 3)


async def test_a_second_step_is_sent_only_what_changed(one_bench: Bench, tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    tree.mkdir()
    for number in range(300):
        (tree / f"file{number}").write_bytes(os.urandom(1000))
    sent = []

    async def files_sent() -> int:
        reads = _count_reads(tree)
        ran = await one_bench.run(
            "cat file* | md5sum", source=one_bench.source(folder=tree, key=str(tree))
        )
        sent.append(ran.log.stdout)
        return reads()

    first = await files_sent()
    (tree / "file7").write_bytes(b"changed")
    (tree / "file8").unlink()
    second = await files_sent()
    third = await files_sent()

    assert (first, second, third) == (300, 1, 0)
    assert sent[0] != sent[1] == sent[2]


def _count_reads(tree: Path):
    """How many files were read from now on, by their access times."""
    for path in tree.iterdir():
        status = path.stat()
        os.utime(path, ns=(0, status.st_mtime_ns))
    return lambda: sum(path.stat().st_atime_ns != 0 for path in tree.iterdir())


async def test_dependencies_files_are_laid_over_the_source(
    one_bench: Bench, tree: Path, tmp_path: Path
) -> None:
    inputs = tmp_path / "inputs"
    (inputs / "bin").mkdir(parents=True)
    (inputs / "bin/built").write_text("built")
    (inputs / "plain").write_text("covered")

    over = await one_bench.run(
        "cat bin/built plain; ./bin/run",
        source=one_bench.source(folder=tree, key=str(tree)),
        inputs=inputs,
    )
    alone = await one_bench.run("find . -type f | sort", inputs=inputs)

    assert over.log.stdout == b"builtcoveredran\n"
    assert alone.log.stdout == b"./bin/built\n./plain\n"


async def test_a_source_that_cannot_be_had_is_the_steps_failure(
    one_bench: Bench, tmp_path: Path
) -> None:
    ran = await one_bench.run("true", source=one_bench.source(folder=tmp_path / "gone", key="x"))

    assert ran.result.outcome is Outcome.ENGINE_FAILED
    assert str(tmp_path / "gone") in (ran.result.message or "")


async def test_outputs_are_collected_also_when_the_script_fails(bench: Bench) -> None:
    ran = await bench.run(
        "mkdir -p dist/sub reports/deep other; echo 1 > dist/a.whl; echo 2 > dist/b.txt\n"
        "echo 3 > dist/sub/c.whl; echo 4 > reports/deep/r.xml; echo 5 > other/x; "
        "chmod 755 dist/*.whl\n"
        "echo 6 > exact; exit 9",
        output_paths=["dist/*.whl", "reports/", "exact", "missing/*.zip"],
    )

    assert ran.result.exit_code == 9
    assert ran.collected() == {
        "dist/a.whl": b"1\n",
        "exact": b"6\n",
        "reports/deep/r.xml": b"4\n",
    }
    assert (ran.outputs / "dist/a.whl").stat().st_mode & 0o777 == 0o755
    assert [note for note in ran.result.notes if "missing/*.zip" in note]


async def test_two_stars_match_at_any_depth(one_bench: Bench) -> None:
    ran = await one_bench.run(
        "mkdir -p a/b; touch top.xml a/mid.xml a/b/low.xml a/b/other", output_paths=["**/*.xml"]
    )

    assert sorted(ran.collected()) == ["a/b/low.xml", "a/mid.xml", "top.xml"]


async def test_nothing_outside_the_workspace_is_ever_collected(one_bench: Bench) -> None:
    ran = await one_bench.run(
        "echo secret > /secret; ln -s /secret link; ln -s / root; mkdir d\n"
        "ln -s ../../../../ d/up\n"
        "echo fine > d/fine; ln -s fine d/inside; ln -s /workspace/d/fine d/absolute",
        output_paths=["link", "root", "root/secret", "d/", "../secret", "/secret"],
    )

    links = {path.name for path in ran.outputs.rglob("*") if path.is_symlink()}
    assert links == {"link", "root", "up", "inside", "absolute"}
    assert (ran.outputs / "d/fine").read_text() == "fine\n"
    assert sorted(path.name for path in ran.outputs.iterdir()) == ["d", "link", "root"]
    for path in ("../secret", "/secret"):
        assert any(path in note for note in ran.result.notes), path
    assert len(ran.result.unkept) == 1


async def test_odd_names_and_kinds_of_files_do_no_harm(one_bench: Bench) -> None:
    ran = await one_bench.run(
        "mkdir o; echo 1 > 'o/a [1] *'; mkfifo o/pipe; echo 3 > o/-x\n"
        "echo 4 > o/one; ln o/one o/two; mkdir o/closed; echo 5 > o/closed/f; chmod 0 o/closed",
        output_paths=["o"],
    )

    assert ran.collected() == {
        "o/-x": b"3\n",
        "o/a [1] *": b"1\n",
        "o/closed/f": b"5\n",
        "o/one": b"4\n",
        "o/two": b"4\n",
    }
    assert any("o/pipe" in one for one in ran.result.unkept)


async def test_devices_are_named_as_such(one_bench: Bench) -> None:
    ran = await one_bench.run(
        "mkdir o; echo 1 > o/fine; mknod o/null c 1 3; mknod o/disk b 7 0", output_paths=["o"]
    )

    assert ran.collected() == {"o/fine": b"1\n"}
    assert sorted(ran.result.unkept) == [
        "outputPaths: o/disk is a device: it can't be kept.",
        "outputPaths: o/null is a device: it can't be kept.",
    ]


async def test_a_path_too_long_for_the_engine_fails_the_step_in_one_sentence(
    one_bench: Bench,
) -> None:
    name = "n" * 200
    deep = f"mkdir o; cd o; for round in {{1..25}}; do mkdir {name}; cd {name}; done"
    ran = await one_bench.run(deep, output_paths=["o"])

    assert (ran.result.outcome, ran.result.exit_code) == (Outcome.EXITED, 0)
    assert ran.result.unkept == (
        "outputPaths: o/… has a path that is longer than the engine can read: "
        "it can't be kept, and nothing else was.",
    )


async def test_literal_brackets_in_an_output_path_are_meant_literally(one_bench: Bench) -> None:
    ran = await one_bench.run(
        "echo 1 > 'a[1].txt'; echo 2 > a1.txt; echo 3 > '!b'", output_paths=["a[1].txt", "!b"]
    )

    assert ran.collected() == {"a[1].txt": b"1\n", "!b": b"3\n"}


async def test_200_megabytes_of_output_pass_without_being_held_in_memory(
    one_bench: Bench,
) -> None:
    await one_bench.run("true", output_paths=["x"])
    before = _peak_kilobytes()

    ran = await one_bench.run(
        "head -c 200000000 /dev/urandom > big; md5sum < big", output_paths=["big"]
    )

    assert (ran.outputs / "big").stat().st_size == 200_000_000
    assert _peak_kilobytes() - before < 60_000


def _peak_kilobytes() -> int:
    """The most memory this process has had since the last call."""
    status = Path("/proc/self/status").read_text()
    Path("/proc/self/clear_refs").write_text("5")
    return int(next(line.split()[1] for line in status.splitlines() if line.startswith("VmHWM")))
