"""Images that run by their own command, on a real engine."""

from __future__ import annotations

import asyncio
import json
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from agent.engines.buildkit.engine import BuildKitEngine
from agent.engines.protocol import ImageRequest, Outcome, StepRequest, StepResult
from pipelines_schema.contract import HealthCheck
from pipelines_schema.contract_images import ImageBuildSpec

from .conftest import FolderSource, Log
from .registries import OWN

if TYPE_CHECKING:
    from .conftest import Marker, TestEngine

pytestmark = pytest.mark.engine


@dataclass(slots=True, kw_only=True)
class Programs:
    engine: BuildKitEngine
    base: str
    folder: Path

    async def image(self, *lines: str) -> str:
        """An image of these lines upon the test image, in the engine's own registry."""
        (self.folder / "Dockerfile").write_text("\n".join([f"FROM {self.base}", *lines]) + "\n")
        reference = f"{OWN}/test/{secrets.token_hex(6)}:1"
        log = Log()
        built = await self.engine.build_image(
            ImageRequest(
                attempt_id=secrets.token_hex(8),
                step_name="image",
                build=ImageBuildSpec(tags=[reference], push=True),
                timeout_seconds=120,
                source=FolderSource(folder=self.folder, key=self.folder.name),
            ),
            log,
        )
        assert built.exit_code == 0, built.message
        return reference

    async def run(
        self,
        image: str,
        log: Log | None = None,
        *,
        env: Mapping[str, str] | None = None,
        given: Mapping[str, str] | None = None,
        timeout_seconds: float = 60,
        health: HealthCheck | None = None,
        tell: Callable[[], Awaitable[None]] | None = None,
    ) -> StepResult:
        attempt_id = secrets.token_hex(8)
        outputs, scratch = self.folder / attempt_id / "o", self.folder / attempt_id / "s"
        outputs.mkdir(parents=True)
        scratch.mkdir()
        request = StepRequest(
            attempt_id=attempt_id,
            step_name="program",
            image=image,
            script="",
            own_command=True,
            health=health,
            tell_healthy=tell,
            env=env or {},
            secrets=given or {},
            timeout_seconds=timeout_seconds,
            outputs=outputs,
            scratch=scratch,
        )
        return await self.engine.run(request, log or Log())


@pytest.fixture
async def programs(engine_under_test: TestEngine, tmp_path: Path) -> AsyncIterator[Programs]:
    engine = BuildKitEngine(
        engine_under_test.address, data_dir=tmp_path / "data", log_limits_lifted=True
    )
    (folder := tmp_path / secrets.token_hex(6)).mkdir()
    try:
        yield Programs(engine=engine, base=engine_under_test.image, folder=folder)
    finally:
        await engine.close()


async def test_an_image_runs_as_it_says_itself(programs: Programs) -> None:
    show = 'id -u; pwd; echo "$FROM_IMAGE $GIVEN $SECRET"; echo aside >&2'
    image = await programs.image(
        "ENV FROM_IMAGE=image GIVEN=overruled",
        "WORKDIR /app",
        "USER 10001:10001",
        'ENTRYPOINT ["sh", "-c"]',
        f"CMD [{show!r}]".replace('"', '\\"').replace("'", '"'),
    )
    log = Log()
    result = await programs.run(image, log, env={"GIVEN": "request"}, given={"SECRET": "sesame"})
    assert (result.outcome, result.exit_code) == (Outcome.EXITED, 0), result.message
    assert log.stdout == b"10001\n/app\nimage request sesame\n"
    assert log.stderr == b"aside\n"


async def test_it_runs_each_time_anew_and_needs_no_shell(programs: Programs) -> None:
    image = await programs.image('CMD ["busybox", "echo", "once"]')
    for _ in range(2):
        log = Log()
        assert (await programs.run(image, log)).exit_code == 0
        assert log.stdout == b"once\n"


async def test_its_exit_code_is_the_result(programs: Programs) -> None:
    image = await programs.image('CMD ["sh", "-c", "echo bad >&2; exit 7"]')
    log = Log()
    result = await programs.run(image, log)
    assert (result.outcome, result.exit_code) == (Outcome.EXITED, 7)
    assert result.message == "the program ended with exit code 7"
    assert log.stderr == b"bad\n"


async def test_an_image_that_can_start_nothing_says_so(programs: Programs) -> None:
    log = Log()
    missing = await programs.run(await programs.image('CMD ["no-such-program"]'), log)
    assert missing.exit_code not in (0, None)
    assert b"no-such-program" in log.stdout + log.stderr
    absent = await programs.run(f"{OWN}/test/absent:1")
    assert absent.outcome is Outcome.ENGINE_FAILED
    assert "there is none of this name" in (absent.message or "")


async def test_a_cancelled_program_is_dead_within_a_second_and_a_late_one_too(
    programs: Programs, marker: Marker
) -> None:
    image = await programs.image(
        f'CMD ["sh", "-c", "trap true TERM; echo up; sleep {marker.word}"]'
    )
    log = Log()
    running = asyncio.create_task(programs.run(image, log))
    await log.wait_for(b"up\n")
    async with asyncio.timeout(60):  # the shell says so before it starts the other
        while not marker.processes():
            await asyncio.sleep(0.02)
    running.cancel()
    async with asyncio.timeout(30):
        with pytest.raises(asyncio.CancelledError):
            await running
    assert not marker.processes()
    late = await programs.run(image, timeout_seconds=1.5)
    assert late.outcome is Outcome.TIMED_OUT
    assert not marker.processes()


SERVES = (
    "mkdir -p /tmp/www; sleep 1; echo well > /tmp/www/index.html; "
    "busybox httpd -p 8000 -h /tmp/www; echo serving; "
    "while [ ! -e /tmp/www/stop ]; do sleep 0.1; done; exit 7"
)


def command(script: str) -> str:
    return f"CMD {json.dumps(['sh', '-c', script])}"


@pytest.mark.parametrize("path", [None, "/index.html"])
async def test_a_program_is_told_well_once_it_answers(programs: Programs, path: str | None) -> None:
    image = await programs.image(command(SERVES.replace("while [", "sleep 3; exit 7; while [")))
    told: list[bytes] = []
    log = Log()

    async def tell() -> None:
        told.append(log.stdout)

    check = HealthCheck(port=8000, path=path, start_seconds=50)
    result = await programs.run(image, log, health=check, tell=tell)
    assert len(told) == 1
    assert (result.outcome, result.exit_code) == (Outcome.EXITED, 7)
    assert result.message == "the program ended with exit code 7"


@pytest.mark.parametrize(
    ("script", "path", "words"),
    [
        ("sleep 600", None, "port 8000 took no connection within 3 seconds"),
        (
            SERVES,
            "/missing",
            "GET /missing on port 8000 was not answered with a status from 200 to 399 within 3 "
            "seconds (it said: HTTP/1.1 404",
        ),
        (SERVES.replace("-p 8000", "-p 127.0.0.1:8000"), None, "took no connection"),
    ],
)
async def test_a_program_that_is_not_well_in_time_is_ended_and_says_how_it_was_asked(
    programs: Programs, script: str, path: str | None, words: str
) -> None:
    image = await programs.image(command(script))
    told: list[int] = []

    async def tell() -> None:
        told.append(1)

    check = HealthCheck(port=8000, path=path, start_seconds=3)
    result = await programs.run(image, health=check, tell=tell)
    assert told == []
    assert (result.outcome, result.exit_code) == (Outcome.EXITED, 1)
    assert words in (result.message or "")
    assert (result.message or "").startswith("health check: ")


async def test_a_program_that_is_well_no_longer_fails(programs: Programs) -> None:
    """As the agent has it, but asked more often."""
    script = SERVES.replace("httpd -p 8000 -h /tmp/www;", "httpd -f -p 8000 -h /tmp/www & p=$!;")
    script = script.replace("while [", "sleep 4; kill $p; sleep 600; while [")
    image = await programs.image(command(script))
    check = HealthCheck(port=8000, path="/", start_seconds=50)
    told: list[int] = []

    async def tell() -> None:
        told.append(1)

    result = await programs.run(image, health=check, tell=tell, timeout_seconds=120)
    assert told == [1]
    assert "3 times in a row" in (result.message or "")
    assert result.exit_code == 1
