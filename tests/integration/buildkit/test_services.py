"""Services beside a step, on a real engine."""

from __future__ import annotations

import asyncio
import os
import secrets
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from agent.engines.buildkit import machine
from agent.engines.buildkit.fence import Fence, chain_of, fence_of
from agent.engines.buildkit.orphans import wrapper_of
from agent.engines.buildkit.services import container_prefix
from agent.engines.buildkit.wrapper import OPEN_FILE, RECORD
from agent.engines.private import ensure_service_images
from agent.engines.protocol import Outcome
from pipelines_schema.contract import ServiceSpec

if TYPE_CHECKING:
    from .conftest import Bench, Log, Ran
    from .image_bench import ImageBench

pytestmark = [
    pytest.mark.engine,
    pytest.mark.skipif(os.geteuid() != 0, reason="services need an agent that is root"),
]

SERVE = (
    "mkdir -p /tmp/w && echo hello from $(hostname) >/tmp/w/index.html && "
    "exec httpd -f -p 80 -h /tmp/w"
)
ASK = "wget -q -O - http://{}/"


def service(bench: Bench, name: str, script: str = SERVE, **more: Any) -> ServiceSpec:
    more.setdefault("tcp", 80)
    if more["tcp"] == 0:
        del more["tcp"]
    more.setdefault("ready_seconds", 30)
    return ServiceSpec(name=name, image=bench.image, command=["sh", "-c", script], **more)


async def with_services(bench: Bench, script: str, *services: ServiceSpec, **more: Any) -> Ran:
    attempt = f"svc-{secrets.token_hex(6)}"
    ran = await bench.run(script, services=services, attempt_id=attempt, **more)
    await nothing_is_left(bench, attempt)
    return ran


async def nothing_is_left(bench: Bench, attempt: str) -> None:
    for _ in range(100):
        if not list(machine.processes_of(container_prefix(attempt))):
            break
        await asyncio.sleep(0.05)
    assert list(machine.processes_of(container_prefix(attempt))) == []
    assert [rule for rule in await fence(bench).rules() if chain_of(attempt) in rule] == []


def fence(bench: Bench) -> Fence:
    client = bench.engine._client
    assert client is not None
    found = fence_of(client.docker_socket)
    assert found is not None
    return found


async def test_a_script_reaches_services_by_name_and_each_those_before_it(
    one_bench: Bench,
) -> None:
    first = service(one_bench, "a-web")
    second = service(one_bench, "b", f"{ASK.format('a-web')} && {SERVE}", env={"X": "1"})
    ran = await with_services(one_bench, f"{ASK.format('b')}; {ASK.format('a-web')}", first, second)

    assert (ran.result.outcome, ran.result.exit_code) == (Outcome.EXITED, 0), ran.result
    own = [one for one in ran.log.stdout.splitlines() if not one.startswith(b"[")]
    assert own == [b"hello from b", b"hello from a-web"]
    assert b"[b] hello from a-web\n" in ran.log.stdout


READY = [
    {"tcp": 80},
    {"tcp": 0},
    {"tcp": 0, "http": "http://web/index.html"},
    {"tcp": 0, "exec": ["sh", "-c", "test -e /tmp/w/index.html"]},
    {"tcp": 0, "exec": ["test", "-e", "/tmp/w/index.html"]},
]


@pytest.mark.parametrize("ready", READY, ids=str)
async def test_a_service_is_ready_by_what_it_says(one_bench: Bench, ready: dict[str, Any]) -> None:
    script = f"sleep 0.7; {SERVE}" if len(ready) > 1 or ready["tcp"] else SERVE
    asked = "until wget -q -O - http://web/; do sleep 0.1; done" if ready == {"tcp": 0} else ASK
    ran = await with_services(
        one_bench, asked.format("web"), service(one_bench, "web", script, **ready)
    )

    assert (ran.result.outcome, ran.result.exit_code) == (Outcome.EXITED, 0), ran.result
    assert b"hello from web" in ran.log.stdout


NEVER = [
    ({"tcp": 81}, "port 81 took no connection"),
    ({"tcp": 0, "http": "http://web/missing"}, "HTTP/1.1 404"),
    ({"tcp": 0, "exec": ["sh", "-c", "echo not yet; exit 3"]}, "not yet"),
]


@pytest.mark.parametrize(("ready", "said"), NEVER, ids=str)
async def test_one_that_is_never_ready_fails_the_step(
    one_bench: Bench, ready: dict[str, Any], said: str
) -> None:
    web = service(one_bench, "web", f"echo begins; {SERVE}", ready_seconds=1, **ready)
    ran = await with_services(one_bench, "echo script", web)

    assert ran.result.outcome is Outcome.SERVICE_FAILED
    message = ran.result.message or ""
    assert "service `web` was not ready after 1 seconds" in message
    assert said in message
    assert "begins" in message
    assert b"script" not in ran.log.stdout


@pytest.mark.parametrize("seconds", [0, 0.02, 0.1, 0.5])
async def test_one_that_ends_before_it_is_ready_fails_the_step(
    one_bench: Bench, seconds: float
) -> None:
    web = service(one_bench, "web", f"sleep {seconds}; echo no such folder; exit 3")
    ran = await with_services(one_bench, "echo script", web)

    assert ran.result.outcome is Outcome.SERVICE_FAILED
    assert ran.result.message == (
        "service `web` ended with exit code 3 before it was ready. Its last lines:\nno such folder"
    )
    assert ran.log.stdout == b"[web] no such folder\n"


@pytest.mark.parametrize("code", [0, 4])
async def test_one_that_ends_while_the_script_runs_fails_the_step(
    one_bench: Bench, code: int
) -> None:
    web = service(one_bench, "web", f"nc -l -p 80; nc -l -p 81; echo over; exit {code}")
    ran = await with_services(one_bench, "nc web 81 </dev/null; sleep 100", web)

    assert ran.result.outcome is Outcome.SERVICE_FAILED
    said = f"service `web` ended with exit code {code} while the step ran. Its last lines:\nover"
    assert ran.result.message == said
    assert ran.seconds < 60


async def test_a_program_that_is_not_there_is_told(one_bench: Bench) -> None:
    web = ServiceSpec(name="web", image=one_bench.image, command=["no-such"], ready_seconds=5)
    ran = await with_services(one_bench, "sleep 100", web)

    assert ran.result.outcome is Outcome.SERVICE_FAILED
    assert "no-such" in (ran.result.message or "")


async def test_twenty_services_run_at_once(one_bench: Bench) -> None:
    many = [service(one_bench, f"s{number}") for number in range(20)]
    ran = await with_services(
        one_bench, "for i in {0..19}; do wget -q -O - http://s$i/; done", *many
    )

    assert (ran.result.outcome, ran.result.exit_code) == (Outcome.EXITED, 0), ran.result
    own = [one for one in ran.log.stdout.splitlines() if not one.startswith(b"[")]
    assert own == [b"hello from s%d" % number for number in range(20)]


async def test_a_service_that_prints_100_megabytes_breaks_nothing(one_bench: Bench) -> None:
    loud = service(
        one_bench, "loud", f"yes 0123456789abcdef | head -c 100000000; echo end; {SERVE}"
    )
    ran = await with_services(one_bench, "echo script; exit 7", loud)

    assert (ran.result.outcome, ran.result.exit_code) == (Outcome.EXITED, 7), ran.result
    assert ran.log.stdout.endswith(b"bytes more are left out of this log\n")
    assert b"\nscript\n" in ran.log.stdout
    assert len(ran.log.stdout) < 5_000_000


async def test_lines_of_services_never_stand_within_one_of_the_scripts(one_bench: Bench) -> None:
    chatty = service(one_bench, "chatty", f"(while sleep 0.05; do echo x; done) & {SERVE}")
    ran = await with_services(one_bench, "for i in 1 2 3; do printf $i; sleep 0.3; done", chatty)

    assert b"123" in ran.log.stdout
    assert ran.log.stdout.count(b"[chatty] x\n") >= 3


async def test_a_services_memory_is_limited(one_bench: Bench) -> None:
    eats = "sleep 1; tail -c 200000000 /dev/zero"
    hungry = service(one_bench, "hungry", eats, memory_bytes=32 * 1024 * 1024, tcp=0)
    ran = await with_services(one_bench, "sleep 20", hungry)

    if b"this engine does not let us limit it" in ran.log.stdout:
        pytest.skip("the machine's groups of processes can't be limited")
    assert ran.result.outcome is Outcome.SERVICE_FAILED, ran.log.stdout
    assert "ended with exit code" in (ran.result.message or "")


async def test_a_service_runs_as_the_user_it_names(one_bench: Bench) -> None:
    web = service(one_bench, "web", "id; sleep 100", user="1000:1000", tcp=0)
    ran = await with_services(one_bench, "sleep 0.5", web)

    assert b"[web] uid=1000(builder) gid=1000(builder)" in ran.log.stdout


async def test_one_that_ends_while_another_is_started_fails_the_step(one_bench: Bench) -> None:
    """The step's own container is long there then, and waits."""
    first = service(one_bench, "first", "nc -l -p 80; nc -l -p 81; echo over; exit 4")
    second = service(one_bench, "second", f"nc first 81 </dev/null; sleep 1; {SERVE}")
    ran = await with_services(one_bench, "echo script", first, second)

    assert ran.result.outcome is Outcome.SERVICE_FAILED
    said = "service `first` ended with exit code 4 while the step ran. Its last lines:\nover"
    assert ran.result.message == said
    assert b"script" not in ran.log.stdout


async def test_a_steps_container_waits_for_services_that_take_their_time(
    one_bench: Bench,
) -> None:
    """Its first process runs, and its script has not begun."""
    gate = "until [ -e /tmp/gate ]; do sleep 0.05; done"
    attempt = f"svc-{secrets.token_hex(6)}"
    log = one_bench.log()
    web = service(one_bench, "web", f"echo begins; {gate}; {SERVE}")
    run = asyncio.create_task(
        one_bench.run(ASK.format("web"), services=[web], attempt_id=attempt, log=log)
    )
    try:
        await log.wait_for(b"[web] begins")
        wrapper = await found(lambda: wrapper_of(attempt))
        record = Path(f"/proc/{wrapper}/root{RECORD}")
        assert record.is_dir()
        assert not (record / OPEN_FILE).exists()
        process = machine.first_process(container_prefix(attempt))
        Path(f"/proc/{process}/root/tmp/gate").touch()
        ran = await run
    finally:
        run.cancel()
        await asyncio.gather(run, return_exceptions=True)
    assert (ran.result.outcome, ran.result.exit_code) == (Outcome.EXITED, 0), ran.result
    assert ran.log.stdout == b"[web] begins\nhello from web\n"
    await nothing_is_left(one_bench, attempt)


async def found(look: Callable[[], int | None]) -> int:
    async with asyncio.timeout(60):
        while (process := look()) is None:
            await asyncio.sleep(0.01)
    return process


LINKS = {
    "within": "/tmp/hosts",
    "out of it": "../../../../../../../../../../outside/hosts",
    "to the kernel's": "/proc/sysrq-trigger",
    "to itself": "hosts",
}


@pytest.mark.parametrize("link", LINKS)
async def test_names_are_written_nowhere_else_for_an_image_with_a_link(
    one_bench: Bench, images: ImageBench, link: str
) -> None:
    """As /etc/hosts, which the engine follows within the image, or refuses."""
    if "PUSHROD_TEST_ENGINE" in os.environ:
        pytest.skip("its image would have to be in a registry of that engine")
    (images.folder / "etc").mkdir()
    (images.folder / "etc/hosts").symlink_to(LINKS[link])
    tag = f"127.0.0.1:5000/test/links:{secrets.token_hex(6)}"
    built = await images.build("FROM BASE\nCOPY etc /etc\n", tags=[tag], push=True)
    assert built.result.outcome is Outcome.EXITED, built.message
    before = Path("/etc/hosts").read_bytes()

    ran = await with_services(one_bench, ASK.format("web"), service(one_bench, "web"), image=tag)

    assert not Path("/outside").exists()
    assert Path("/etc/hosts").read_bytes() == before
    own = [one for one in ran.log.stdout.splitlines() if not one.startswith(b"[")]
    if link in ("within", "out of it"):
        assert (ran.result.exit_code, own) == (0, [b"hello from web"]), ran.result
    else:
        assert ran.result.outcome is not Outcome.EXITED, ran.log.stdout
        assert own == []


PHASES = {
    "before the step's container is there": ({"tcp": 81}, "x"),
    "while it waits": ({"tcp": 81}, "x"),
    "while it is asked": ({"tcp": 0, "exec": ["false"]}, "x"),
    "while the script runs": ({"tcp": 80}, "echo runs; sleep 100"),
    "while they end": ({"tcp": 80}, "echo runs"),
}


@pytest.mark.parametrize("phase", PHASES)
async def test_a_cancel_leaves_nothing(one_bench: Bench, phase: str) -> None:
    ready, script = PHASES[phase]
    web = service(one_bench, "web", f"echo runs; {SERVE}", **ready)
    attempt = f"svc-{secrets.token_hex(6)}"
    log = one_bench.log()
    run = asyncio.create_task(one_bench.run(script, services=[web], attempt_id=attempt, log=log))
    if "is there" not in phase:
        await log.wait_for(b"\nruns\n" if script != "x" else b"[web] runs")
    else:
        await found(lambda: machine.first_process(container_prefix(attempt)))
    if "waits" in phase:
        await found(lambda: wrapper_of(attempt))
    if "they end" in phase:
        wrapper = wrapper_of(attempt)
        await found(lambda: None if wrapper and Path(f"/proc/{wrapper}").exists() else 1)
    run.cancel()
    with pytest.raises(asyncio.CancelledError):
        await run

    await nothing_is_left(one_bench, attempt)


async def says_again(run: asyncio.Task[Ran], log: Log) -> None:
    """However long that takes on a busy machine."""
    seen = log.stdout.count(b"hello from web")
    while log.stdout.count(b"hello from web") == seen:
        assert not run.done(), run
        await asyncio.sleep(0.05)


@pytest.mark.timeout(600)
async def test_another_builds_step_cant_reach_a_service(one_bench: Bench) -> None:
    """By its address, which the other would have to guess; its own step can, at the same time."""
    log = one_bench.log()
    mine = asyncio.create_task(
        one_bench.run(
            "tail -n 1 /etc/hosts; until [ -e /tmp/never ]; do wget -q -O - http://web/; "
            "sleep 0.2; done",
            services=[service(one_bench, "web")],
            attempt_id="svc-mine" + secrets.token_hex(4),
            timeout_seconds=600,
            log=log,
        )
    )
    try:
        await says_again(mine, log)
        address = next(
            line.split()[0] for line in log.stdout.splitlines() if line.endswith(b"\tweb")
        ).decode()
        tried = await one_bench.run(f"nc -w 2 {address} 80 </dev/null && echo in || echo out")
        others = await one_bench.run(
            f"nc -w 2 {address} 80 </dev/null && echo in || echo out",
            services=[service(one_bench, "web")],
        )
        ping = await one_bench.run(f"ping -c 1 -W 2 {address} >/dev/null && echo in || echo out")
        await says_again(mine, log)
    finally:
        mine.cancel()
        await asyncio.gather(mine, return_exceptions=True)
    own = [one for one in others.log.stdout.splitlines() if not one.startswith(b"[")]
    assert tried.log.stdout.endswith(b"out\n")
    assert own[-1:] == [b"out"]
    assert ping.log.stdout == b"out\n"


async def test_a_database_a_store_and_a_web_server_run_beside_a_script(
    one_bench: Bench,
) -> None:
    if "PUSHROD_TEST_ENGINE" in os.environ:
        pytest.skip("its images are in the private engine's registry")
    images = await ensure_service_images()
    with_psql = "pg_isready -h localhost"
    services = [
        ServiceSpec(
            name="db",
            image=images["postgres"],
            env={"POSTGRES_PASSWORD": "x"},
            exec=["sh", "-c", with_psql],
            ready_seconds=60,
        ),
        ServiceSpec(name="store", image=images["redis"], tcp=6379, ready_seconds=60),
        ServiceSpec(name="web", image=images["web"], http="http://web/", ready_seconds=60),
    ]
    script = (
        "PGPASSWORD=x psql -h db -U postgres -Atc 'SELECT 6 * 7'; "
        "redis-cli -h store set key value; redis-cli -h store get key; "
        "python3 -c \"from urllib.request import urlopen; print(urlopen('http://web/').status)\""
    )
    ran = await with_services(one_bench, script, *services, image=images["postgres"])

    assert (ran.result.outcome, ran.result.exit_code) == (Outcome.EXITED, 0), ran.result
    own = [one for one in ran.log.stdout.splitlines() if not one.startswith(b"[")]
    assert own == [b"42", b"OK", b"value", b"200"]


async def test_three_services_asked_by_exec_start_again_and_again(one_bench: Bench) -> None:
    times = int(os.environ.get("PUSHROD_SERVICE_STARTS", "5"))
    three = [
        service(one_bench, name, tcp=0, exec=["test", "-e", "/tmp/w/index.html"])
        for name in ("a", "b", "c")
    ]
    for _ in range(times):
        ran = await with_services(one_bench, ASK.format("c"), *three)
        assert (ran.result.outcome, ran.result.exit_code) == (Outcome.EXITED, 0), ran.result


async def test_what_an_agent_that_was_killed_has_left_is_ended_by_the_next(
    one_bench: Bench, tmp_path: Path
) -> None:
    """The agent is a process of its own here, killed while the script runs."""
    attempt = f"svc-{secrets.token_hex(6)}"
    agent = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", AGENT, one_bench.engine._address, one_bench.image),
        *(attempt, str(tmp_path)),
        stdout=asyncio.subprocess.PIPE,
    )
    assert agent.stdout is not None
    async with asyncio.timeout(60):
        while b"runs" not in await agent.stdout.readline():
            assert agent.returncode is None
    agent.kill()
    await agent.wait()

    await one_bench.engine.reap(attempt)

    await nothing_is_left(one_bench, attempt)


AGENT = """
import asyncio, sys
from pathlib import Path
from agent.engines.buildkit.engine import BuildKitEngine
from agent.engines.protocol import StepRequest
from pipelines_schema.contract import ServiceSpec

address, image, attempt, folder = sys.argv[1:]

class Log:
    def write(self, stream, data):
        sys.stdout.buffer.write(data)
        sys.stdout.flush()

service = ServiceSpec(name="web", image=image, command=["sleep", "300"], ready_seconds=30)
request = StepRequest(
    attempt_id=attempt, step_name="test", image=image, script="echo runs; sleep 300", env={},
    timeout_seconds=300, services=[service], outputs=Path(folder), scratch=Path(folder),
)
engine = BuildKitEngine(address, data_dir=Path(folder))
asyncio.run(engine.run(request, Log()))
"""
