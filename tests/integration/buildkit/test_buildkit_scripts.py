"""How a script runs: exit codes, environment, user, files, log."""

from __future__ import annotations

import asyncio
import hashlib
import re
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from agent.engines.protocol import CacheMount, Outcome

if TYPE_CHECKING:
    from .conftest import Bench, Marker

pytestmark = pytest.mark.engine


@pytest.mark.parametrize("code", [0, 1, 7, 137, 255])
async def test_the_exit_code_is_the_scripts_own(bench: Bench, code: int) -> None:
    ran = await bench.run(f"exit {code}")

    assert (ran.result.outcome, ran.result.exit_code) == (Outcome.EXITED, code)


async def test_a_script_that_kills_itself_is_reported_as_killed(bench: Bench) -> None:
    ran = await bench.run("echo before; kill -9 $$; echo after")

    assert (ran.result.outcome, ran.result.exit_code) == (Outcome.EXITED, 137)
    assert (ran.log.stdout, ran.log.stderr) == (b"before\n", b"")


async def test_scripts_are_strict_and_may_use_unset_variables(one_bench: Bench) -> None:
    ran = await one_bench.run("echo [$NOT_SET]; false | true; echo not reached")

    assert (ran.result.exit_code, ran.log.stdout) == (1, b"[]\n")


async def test_standard_input_is_at_its_end(one_bench: Bench) -> None:
    ran = await one_bench.run("cat; echo $?; readlink /proc/self/fd/0")

    assert ran.log.stdout == b"0\n/dev/null\n"


async def test_signals_behave_as_in_a_shell_of_ones_own(one_bench: Bench) -> None:
    ran = await one_bench.run("trap 'echo caught' INT TERM; kill -INT $$; kill -TERM $$; echo on")

    assert ran.log.stdout == b"caught\ncaught\non\n"


async def test_both_streams_are_one_and_kept_without_a_last_newline(bench: Bench) -> None:
    ran = await bench.run("printf out; printf err >&2")

    assert (ran.log.stdout, ran.log.stderr) == (b"outerr", b"")


async def test_lines_of_both_streams_keep_the_scripts_order(bench: Bench) -> None:
    ran = await bench.run("for i in {1..3000}; do echo out $i; echo err $i >&2; done")

    assert ran.log.stdout == b"".join(b"out %d\nerr %d\n" % (i, i) for i in range(1, 3001))


@pytest.mark.parametrize("user", ["", "1234:56"])
async def test_a_script_opens_its_streams_by_their_names(bench: Bench, user: str) -> None:
    ran = await bench.run(
        "echo 1 > /dev/stdout; echo 2 > /dev/stderr; echo 3 | tee /dev/fd/2", user=user
    )
    assert (ran.result.exit_code, ran.log.stdout) == (0, b"1\n2\n3\n3\n")


async def test_a_megabyte_of_script_runs(one_bench: Bench) -> None:
    ran = await one_bench.run("#" + "x" * (1024 * 1024 - 10) + "\necho end")

    assert ran.log.stdout == b"end\n"


async def test_a_script_with_a_nul_byte_is_refused_with_its_place(one_bench: Bench) -> None:
    ran = await one_bench.run("echo a\0b")

    assert ran.result.outcome is Outcome.ENGINE_FAILED
    assert "NUL byte at character 6" in (ran.result.message or "")


async def test_binary_output_of_20_megabytes_is_exact(bench: Bench) -> None:
    ran = await bench.run("head -c 20000000 /dev/urandom >f; md5sum <f >&2; cat f; rm f")

    said, _, content = ran.log.stdout.partition(b"\n")
    assert hashlib.md5(content).hexdigest() == said.split()[0].decode()


async def test_a_line_of_three_megabytes_is_exact_beside_the_other_stream(bench: Bench) -> None:
    ran = await bench.run("head -c 3000000 /dev/zero | tr '\\0' x; echo err >&2; echo; exit 3")

    assert ran.log.stdout == b"x" * 3_000_000 + b"err\n\n"
    assert ran.result.exit_code == 3


async def test_a_script_that_prints_the_engines_clip_notice_loses_nothing(bench: Bench) -> None:
    notice = "\\n[output clipped, log limit 2MiB reached]\\n"
    ran = await bench.run(
        f"printf 'a{notice}b'; printf 'c{notice}d\\n' >&2; sleep 0.2; seq 1 1000; exit 4"
    )

    shown = notice.replace("\\n", "\n").encode()
    numbers = b"".join(b"%d\n" % number for number in range(1, 1001))
    assert ran.log.stdout == b"a" + shown + b"bc" + shown + b"d\n" + numbers
    assert ran.result.exit_code == 4


async def test_output_is_given_on_while_the_script_runs(bench: Bench, marker: Marker) -> None:
    log = bench.log()
    running = asyncio.create_task(bench.run(f"echo first; sleep {marker.word}", log=log))

    await log.wait_for(b"first\n")

    assert not running.done()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running


async def test_a_background_process_neither_delays_the_end_nor_survives_it(
    bench: Bench, marker
) -> None:
    ran = await bench.run(f"sleep {marker.word} & setsid sleep {marker.word} & echo quick; exit 5")

    assert (ran.log.stdout, ran.result.exit_code) == (b"quick\n", 5)
    assert ran.quiet_seconds < 20
    assert marker.processes() == []


async def test_what_a_background_process_wrote_before_the_end_is_kept(bench: Bench) -> None:
    ran = await bench.run("(echo background; sleep 60) & sleep 0.5; echo done")

    assert sorted(ran.log.stdout.split()) == [b"background", b"done"]


async def test_steps_variables_cover_the_images(one_bench: Bench) -> None:
    ran = await one_bench.run(
        "echo $IMAGE_ENV; echo $MINE; echo $HOME; pwd; id -u",
        env={"MINE": "a b\n$HOME 'quoted'", "PUSHROD_X": "y"},
    )
    covered = await one_bench.run("echo $IMAGE_ENV", env={"IMAGE_ENV": "from-step"})

    assert ran.log.stdout == b"from-image\na b $HOME 'quoted'\n/root\n/workspace\n0\n"
    assert covered.log.stdout == b"from-step\n"


WRAPPERS_OWN = (
    "record grace out script names name file value rest code late found others process more "
    "round alive killed key handed SCRIPT LISTEN LISTEN_PORT OUT NAMES PROGRAM COMMAND WORKDIR"
)


@pytest.mark.parametrize("shell", ["", "sh"])
@pytest.mark.parametrize("kind", ["env", "secrets"])
async def test_variables_may_be_called_as_the_wrappers_own(
    one_bench: Bench, kind: str, shell: str
) -> None:
    values = {name: f"mine {name}" for name in WRAPPERS_OWN.split()}
    script = "".join(f'printf "%s\\n" "${name}"; ' for name in values) + "exit 3"

    ran = await one_bench.run(script, **{kind: values}, shell=shell)

    assert ran.log.stdout.decode().splitlines() == list(values.values())
    assert ran.result.exit_code == 3


@pytest.mark.parametrize("listed", ["", "xtrace:errexit"])
async def test_what_bash_reads_at_its_start_is_for_the_script_alone(
    one_bench: Bench, tmp_path: Path, listed: str
) -> None:
    (tmp_path / "tree").mkdir()
    (tmp_path / "tree" / "start").write_text("echo started; mine=yes; cat() { exit 9; }; trap : 0")
    env = {"BASH_ENV": "/workspace/start"} | ({"SHELLOPTS": listed} if listed else {})

    ran = await one_bench.run(
        "set +x; echo $mine",
        env=env,
        source=one_bench.source(folder=tmp_path / "tree", key=str(tmp_path)),
        cache_mounts=[CacheMount(id=f"test-{time.time_ns()}", path="/c", begins_as=["none"])],
    )

    said = ran.log.stdout.splitlines()
    assert said[0] == (b"+ echo started" if listed else b"started")
    assert (said[-1], ran.result.exit_code) == (b"yes", 0)
    assert said.count(b"started") == 1


async def test_the_images_user_runs_the_script_in_a_workspace_of_its_own(one_bench: Bench) -> None:
    ran = await one_bench.run(
        "exec 2>/dev/null; "
        "id -u; id -g; pwd; touch file; stat -c %u . file; echo x > /var/forbidden || echo no",
        image=one_bench.builder_image,
    )

    assert ran.log.stdout.split() == [b"1000", b"1000", b"/workspace", b"1000", b"1000", b"no"]


@pytest.mark.parametrize(
    ("user", "ids"),
    [("1234", b"1234 0"), ("1234:56", b"1234 56"), ("0:0", b"0 0"), ("1000", b"1000 1000")],
)
@pytest.mark.parametrize("image", ["image", "builder_image"])
async def test_a_steps_user_runs_the_script_in_a_workspace_of_its_own(
    one_bench: Bench, tmp_path: Path, user: str, ids: bytes, image: str
) -> None:
    (tmp_path / "tree").mkdir()
    (tmp_path / "tree" / "file").write_text("x")
    ran = await one_bench.run(
        'echo $(id -u) $(id -g); stat -c "%u %g" . file /c "$PUSHROD_SECRETS/S"; '
        "echo y > file; echo y > /c/f; cat $PUSHROD_SECRETS/S",
        image=getattr(one_bench, image),
        user=user,
        source=one_bench.source(folder=tmp_path / "tree", key=str(tmp_path)),
        cache_mounts=[CacheMount(id=f"test-{time.time_ns()}", path="/c")],
        secrets={"S": "secret"},
    )
    assert ran.log.stdout == (ids + b"\n") * 5 + b"secret"
    assert ran.result.exit_code == 0


async def test_the_root_filesystem_can_be_written_and_is_new_for_each_attempt(
    one_bench: Bench,
) -> None:
    script = "test ! -e /etc/mark; touch /etc/mark /tmp/mark mark"

    first, second = await one_bench.run(script), await one_bench.run(script)

    assert (first.result.exit_code, second.result.exit_code) == (0, 0)


async def test_the_same_step_twice_runs_twice(one_bench: Bench) -> None:
    script = "cat /proc/sys/kernel/random/uuid"

    first, second = await asyncio.gather(one_bench.run(script), one_bench.run(script))

    assert first.log.stdout != second.log.stdout


@pytest.mark.parametrize("image", ["image", "builder_image"])
async def test_a_cache_is_kept_from_step_to_step_for_the_images_user(
    one_bench: Bench, image: str
) -> None:
    name = f"test-{time.time_ns()}"
    mounts = [
        CacheMount(id=name + "a", path="/var/cache/tool"),
        CacheMount(id=name + "b", path="/workspace/.cache/deep"),
    ]
    script = "exec 2>/dev/null\n"
    script += "for d in /var/cache/tool .cache/deep; do echo $(cat $d/f) $(stat -c %u $d); done\n"
    script += "echo kept | tee /var/cache/tool/f .cache/deep/f >/dev/null"
    wanted = getattr(one_bench, image)

    cold = await one_bench.run(script, cache_mounts=mounts, image=wanted)
    warm = await one_bench.run(script, cache_mounts=mounts, image=wanted)

    uid = b"0" if image == "image" else b"1000"
    assert (cold.result.exit_code, cold.log.stdout) == (0, uid + b"\n" + uid + b"\n")
    assert warm.log.stdout == b"kept " + uid + b"\nkept " + uid + b"\n"


@pytest.mark.parametrize("image", ["image", "builder_image"])
async def test_a_cache_begins_as_a_copy_of_another_which_stays_as_it_is(
    one_bench: Bench, image: str
) -> None:
    name, wanted = f"test-{time.time_ns()}", getattr(one_bench, image)
    path = "/var/cache/it's {odd}"
    first = CacheMount(id=name + "a", path=path)
    second = CacheMount(id=name + "b", path=path, begins_as=[name + "none", name + "a"])
    fill = f'cd "{path}"; mkdir -p .x/y; echo 1 >.x/y/f; ln -s .x/y/f link; mkdir .pushrod-cut'
    show = f'cd "{path}"; ls -A; cat link; echo 2 >.x/y/f'

    filled = await one_bench.run(fill, cache_mounts=[first], image=wanted)
    copied = await one_bench.run(show, cache_mounts=[second], image=wanted)
    again = await one_bench.run(show, cache_mounts=[second], image=wanted)
    before = await one_bench.run(show, cache_mounts=[first], image=wanted)

    said = f"pushrod: the cache {path} begins as a copy of an earlier one\n".encode()
    assert filled.result.exit_code == 0
    assert copied.log.stdout == said + b".x\nlink\n1\n"
    assert again.log.stdout == b".x\nlink\n2\n"
    assert before.log.stdout == b".pushrod-cut\n.x\nlink\n1\n"


async def test_a_script_cannot_write_to_the_cache_that_its_own_begins_as(
    one_bench: Bench,
) -> None:
    name = f"test-{time.time_ns()}"
    mount = CacheMount(id=name + "b", path="/c", begins_as=[name + "a"])

    ran = await one_bench.run("touch /.pushrod/caches/0/x", cache_mounts=[mount])

    assert ran.result.exit_code == 1
    assert b"Read-only" in ran.log.stdout


async def test_an_image_that_does_not_exist_is_named_at_once(one_bench: Bench) -> None:
    registry = one_bench.image.rpartition("/")[0]

    ran = await one_bench.run("true", image=f"docker://{registry}/no-such:7")

    assert ran.result.outcome is Outcome.ENGINE_FAILED
    assert re.search(r"no-such:7.*check the name and the tag", ran.result.message or "")
    assert ran.quiet_seconds < 10


@pytest.mark.parametrize(
    ("image", "said"), [("oci-layout:///srv/x", "not supported"), ("No Image", "not an image")]
)
async def test_what_is_no_usable_image_is_refused(one_bench: Bench, image: str, said: str) -> None:
    ran = await one_bench.run("true", image=image)

    assert ran.result.outcome is Outcome.ENGINE_FAILED
    assert said in (ran.result.message or "")
    assert image in (ran.result.message or "")


async def test_without_bash_on_the_path_the_message_says_so(one_bench: Bench) -> None:
    ran = await one_bench.run("true", env={"PATH": "/nowhere"})

    assert ran.result.outcome is Outcome.ENGINE_FAILED
    assert "has no bash" in (ran.result.message or "")


async def test_many_steps_at_once_keep_their_logs_apart(bench: Bench) -> None:
    runs = await asyncio.gather(
        *(bench.run(f"for i in $(seq 200); do echo {number}; done") for number in range(6))
    )

    assert [one.log.stdout for one in runs] == [b"%d\n" % number * 200 for number in range(6)]
