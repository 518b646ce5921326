"""Steps through a whole agent: a strict coordinator over HTTP, real scripts on the host engine."""

from __future__ import annotations

import asyncio
import hashlib
import threading
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from agent.data_folder import AlreadyRunningError
from agent.journal import Journal
from agent.journal_entries import Entry
from agent.sign_in import RegistrationRefusedError
from pipelines_schema.contract import Completion, CompletionReason
from pipelines_schema.log_frames import Stream
from tests.integration.agent_bench import PATIENCE_SECONDS, Bench, ended, open_bench
from tests.integration.fake_coordinator import Step
from tests.quiet_time import quiet_seconds, stalled_seconds


@pytest.fixture
async def bench() -> AsyncIterator[Bench]:
    async with open_bench() as bench:
        yield bench


async def test_a_step_is_run_and_reported_with_its_log(bench: Bench) -> None:
    step = bench.coordinator.add_step("echo out; sleep 0.1; echo err >&2; exit 3")
    async with bench.agent():
        await ended(step)
    assert step.completion is not None
    assert (step.completion.status, step.completion.exit_code) == (Completion.FAILED, 3)
    assert step.completion.reason is None
    assert [(frame.stream, frame.data) for frame in step.frames] == [
        (Stream.STDOUT, b"out\n"),
        (Stream.STDOUT, b"err\n"),
    ]
    assert step.completion.log_sha256 == hashlib.sha256(b"out\nerr\n").hexdigest()
    assert bench.journal == []


async def test_a_large_log_is_exact(bench: Bench) -> None:
    step = bench.coordinator.add_step("seq 1 2000000; seq 1 1000 >&2")
    async with bench.agent():
        await ended(step)
    out = b"".join(frame.data for frame in step.frames)
    numbers = [*range(1, 2_000_001), *range(1, 1001)]
    assert out == b"".join(b"%d\n" % number for number in numbers)


async def test_the_first_bytes_come_at_once(bench: Bench) -> None:
    async with bench.agent():
        stalled = stalled_seconds()
        step = bench.coordinator.add_step("date +%s%N; sleep 1000")
        await asyncio.wait_for(step.logged.wait(), PATIENCE_SECONDS)
        delay = time.time() - int(step.text) / 1e9 - (stalled_seconds() - stalled)
        bench.coordinator.cancel(step)
        await ended(step)
    assert delay < 1


async def test_no_more_steps_run_than_there_are_slots(bench: Bench) -> None:
    script = f"cd {bench.root}/slots; touch $$; ls | wc -l; sleep 0.05; ls | wc -l; rm $$"
    (bench.root / "slots").mkdir()
    (bench.root / "slots").chmod(0o777)
    steps = [bench.coordinator.add_step(script) for _ in range(8)]
    async with bench.agent(slots=2):
        for step in steps:
            await ended(step)
    assert max(int(number) for step in steps for number in step.text.split()) == 2


@pytest.mark.parametrize(("slots", "most"), [(1, 1), (3, 2), (2, 3)])
async def test_an_agent_for_so_many_steps_reports_them_and_ends(
    bench: Bench, slots: int, most: int
) -> None:
    steps = [bench.coordinator.add_step("echo done") for _ in range(5)]
    agent = bench.new_agent(slots=slots, max_steps=most)
    await asyncio.wait_for(agent.run(), PATIENCE_SECONDS)
    assert sum(step.completion is not None for step in steps) == most
    assert sum(step.text == "done\n" for step in steps) == most
    assert bench.journal == []


async def test_what_is_left_of_before_is_no_step_of_an_agent_for_so_many(bench: Bench) -> None:
    left = bench.coordinator.add_step("sleep 1000")
    process = await bench.start_process()
    await asyncio.wait_for(until_begun(bench, left), PATIENCE_SECONDS)
    await bench.kill(process)
    new = bench.coordinator.add_step("echo new")
    await asyncio.wait_for(bench.new_agent(max_steps=1).run(), PATIENCE_SECONDS)
    assert new.text == "new\n"
    assert left.completion is not None


async def until_begun(bench: Bench, step: Step) -> None:
    while bench.attempt(step) is None:
        await asyncio.sleep(0.01)


async def test_a_freed_slot_is_filled_at_once_also_while_an_answer_is_on_its_way(
    bench: Bench,
) -> None:
    bench.coordinator.poll_answer_delay = 0.15
    steps = [bench.coordinator.add_step(f"sleep 0.{n % 4}") for n in range(12)]
    async with bench.agent(slots=3):
        started = quiet_seconds()
        for step in steps:
            await ended(step)
    # An offer that is lost with its poll would take 5 s to come again, here never.
    assert quiet_seconds() - started < 10
    assert all(step.epoch == 1 for step in steps)


async def test_a_slot_that_is_handed_over_is_not_counted_twice(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While the step that had it is being forgotten, the agent takes what suits its other slot."""
    third_began, forget = threading.Event(), Journal.forget

    def forget_late(journal: Journal, entry: Entry) -> None:
        third_began.wait(PATIENCE_SECONDS)
        forget(journal, entry)

    monkeypatch.setattr(Journal, "forget", forget_late)
    bench.coordinator.add_step("true")
    second = bench.coordinator.add_next("sleep 1000")
    async with bench.agent(slots=2):
        try:
            await asyncio.wait_for(second.started.wait(), PATIENCE_SECONDS)
            third = bench.coordinator.add_step("echo begun")
            await asyncio.wait_for(third.logged.wait(), PATIENCE_SECONDS)
        finally:
            third_began.set()
            bench.coordinator.cancel(second)
        await ended(second)
    assert third.epoch == 1


async def test_a_cancel_without_grace_kills_the_script_and_reports_the_log_so_far(
    bench: Bench,
) -> None:
    step = bench.coordinator.add_step(
        "trap 'echo no' TERM; echo begun; sleep 1000", grace_seconds=0
    )
    async with bench.agent():
        await asyncio.wait_for(step.logged.wait(), PATIENCE_SECONDS)
        started = quiet_seconds()
        bench.coordinator.cancel(step)
        await ended(step)
    assert quiet_seconds() - started < 1
    assert step.completion is not None
    assert step.completion.reason is CompletionReason.CANCELLED
    assert step.text == "begun\n"


async def test_a_lost_lease_ends_the_script_without_a_report(bench: Bench) -> None:
    step = bench.coordinator.add_step(f"echo $$ > {bench.root}/slots/pid; echo x; sleep 1000")
    (bench.root / "slots").mkdir()
    (bench.root / "slots").chmod(0o777)
    async with bench.agent():
        await asyncio.wait_for(step.logged.wait(), PATIENCE_SECONDS)
        bench.coordinator.take_away(step)
        async with asyncio.timeout(PATIENCE_SECONDS):
            while bench.journal:
                await asyncio.sleep(0.02)
    assert step.completions == 0
    pid = (bench.root / "slots" / "pid").read_text().strip()
    assert not Path("/proc", pid).exists()
    assert not (bench.work / "attempts").exists()


async def test_a_stale_epoch_at_the_log_ends_the_script(bench: Bench) -> None:
    step = bench.coordinator.add_step("while true; do echo x; sleep 0.05; done")
    async with bench.agent():
        await asyncio.wait_for(step.logged.wait(), PATIENCE_SECONDS)
        step.epoch += 1
        async with asyncio.timeout(PATIENCE_SECONDS):
            while bench.journal:
                await asyncio.sleep(0.02)
    assert step.completions == 0


async def test_a_timeout_is_its_reason(bench: Bench) -> None:
    step = bench.coordinator.add_step("echo x; sleep 1000", timeoutSeconds=0.3)
    async with bench.agent():
        await ended(step)
    assert step.completion is not None
    assert step.completion.reason is CompletionReason.TIMEOUT
    assert step.text == "x\n"


async def test_links_fail_the_step_where_the_coordinator_is_too_old_to_keep_them(
    bench: Bench,
) -> None:
    step = bench.coordinator.add_step("touch o; ln -s o l", outputPaths=["o", "l"])
    async with bench.agent():
        await ended(step)
    assert step.completion is not None
    assert step.completion.status is Completion.FAILED
    assert "the link l can't be stored" in str(step.completion.message)


async def test_outputs_are_stored_with_mode_and_odd_names(bench: Bench) -> None:
    names = ["a b", "100%", "ä/ö", "q?x=1#y", "dir/deep/file", "+", "a\\b"]
    script = "\n".join(
        [
            "mkdir -p out/ä out/dir/deep",
            *(f"printf %s {number} > $'out/{_bash(name)}'" for number, name in enumerate(names)),
            "chmod 750 out/dir/deep/file; exit 1",
        ]
    )
    step = bench.coordinator.add_step(script, outputPaths=["out"])
    async with bench.agent():
        await ended(step)
    stored = {name: data.decode() for name, (_, data) in step.artifacts.items()}
    assert stored == {f"out/{name}": str(number) for number, name in enumerate(names)}
    assert step.artifacts["out/dir/deep/file"][0] == 0o750
    assert step.completion is not None
    assert step.completion.exit_code == 1


def _bash(name: str) -> str:
    return name.replace("\\", "\\\\")


async def test_an_output_whose_name_is_not_utf_8_fails_the_step_and_is_named(bench: Bench) -> None:
    step = bench.coordinator.add_step("mkdir o; touch $'o/x\\xff'", outputPaths=["o"])
    async with bench.agent():
        await ended(step)
    assert step.completion is not None
    assert step.completion.reason is CompletionReason.OUTPUTS
    assert "o/x\\xff" in str(step.completion.message)


async def test_an_output_the_coordinator_refuses_fails_the_step_with_its_words(
    bench: Bench,
) -> None:
    bench.coordinator.refuse_artifacts["o/big"] = 413
    step = bench.coordinator.add_step("mkdir o; touch o/big o/small", outputPaths=["o"])
    async with bench.agent():
        await ended(step)
    assert step.completion is not None
    assert step.completion.status is Completion.FAILED
    assert step.completion.reason is CompletionReason.OUTPUTS
    assert "artifact o/big is refused" in str(step.completion.message)


async def test_no_message_of_what_comes_after_the_script_shows_a_secret(bench: Bench) -> None:
    secret = "hunter2-hunter2"
    name = f"o/{'x' * 190}{secret}"
    bench.coordinator.refuse_artifacts[name] = 413
    step = bench.coordinator.add_step(
        f"mkdir o; touch {name}", outputPaths=["o"], secretNames=["A"], secrets={"A": secret}
    )
    async with bench.agent():
        await ended(step)
    assert step.completion is not None
    assert step.completion.reason is CompletionReason.OUTPUTS
    assert "***" in str(step.completion.message)
    assert "hunter" not in str(step.completion.message)


async def test_notes_are_reported_also_with_a_success(bench: Bench) -> None:
    step = bench.coordinator.add_step("true", outputPaths=["nothing/*"])
    async with bench.agent():
        await ended(step)
    assert step.completion is not None
    assert step.completion.status is Completion.SUCCESS
    assert "nothing/*" in str(step.completion.message)


async def test_a_refused_log_fails_the_step_and_does_not_hang(bench: Bench) -> None:
    bench.coordinator.refuse_logs = 413
    step = bench.coordinator.add_step("echo x")
    async with bench.agent():
        await ended(step)
    assert step.completion is not None
    assert step.completion.status is Completion.FAILED
    assert "logs are refused" in str(step.completion.message)


async def test_dependencies_artifacts_overlay_in_order(bench: Bench) -> None:
    blob = bench.coordinator.add_blob
    step = bench.coordinator.add_step(
        "cat a/both a/one; ./tool",
        dependencies=[
            {
                "stepId": "1",
                "name": "one",
                "artifacts": [blob("a/one", b"1"), blob("a/both", b"first")],
            },
            {
                "stepId": "2",
                "name": "two",
                "artifacts": [
                    blob("a/both", b"second"),
                    blob("tool", b"#!/bin/sh\npwd >/dev/null\necho t", 0o755),
                ],
            },
        ],
    )
    async with bench.agent():
        await ended(step)
    assert step.text == "second1t\n"


async def test_what_this_agent_stored_is_taken_from_its_disk(bench: Bench) -> None:
    """The coordinator has it nowhere: asking for it would fail the step."""
    data = b"made here\n"
    made = bench.coordinator.add_step("echo made here > f", outputPaths=["f"])
    known = bench.coordinator.add_blob("f", data)
    bench.coordinator.blobs.clear()
    async with bench.agent():
        await ended(made)
        taken = bench.coordinator.add_step(
            "cat f", dependencies=[{"stepId": made.step_id, "name": "m", "artifacts": [known]}]
        )
        await ended(taken)
    assert (taken.text, bench.coordinator.breaches) == ("made here\n", [])


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"sha256": "0" * 64}, "no such artifact"),
        ({"size": 2}, "another content"),
        ({"name": "../x"}, "not a relative path"),
        ({"name": "/etc/x"}, "not a relative path"),
    ],
)
async def test_an_artifact_that_is_not_as_promised_fails_the_step(
    bench: Bench, change: dict[str, object], word: str
) -> None:
    artifact = {**bench.coordinator.add_blob("x", b"abc"), **change}
    if "sha256" in change:
        artifact["url"] = f"{bench.coordinator.url}/blobs/{change['sha256']}"
    step = bench.coordinator.add_step(
        "echo ran", dependencies=[{"stepId": "1", "name": "one", "artifacts": [artifact]}]
    )
    async with bench.agent():
        await ended(step)
    assert step.completion is not None
    assert step.completion.reason is CompletionReason.SOURCE
    assert word in str(step.completion.message)
    assert step.text == ""


async def test_an_answer_that_never_came_is_asked_for_again(bench: Bench) -> None:
    bench.coordinator.break_off = {"log", "complete"}
    step = bench.coordinator.add_step("echo once")
    async with bench.agent():
        await ended(step)
        async with asyncio.timeout(PATIENCE_SECONDS):
            while bench.journal:
                await asyncio.sleep(0.02)
    assert step.completions == 2
    assert step.text == "once\n"
    assert not bench.coordinator.break_off


async def test_work_goes_on_while_the_coordinator_is_away(bench: Bench) -> None:
    step = bench.coordinator.add_step(
        f"echo 1; while [ ! -e {bench.root}/slots/go ]; do sleep 0.02; done; echo 2; seq 300000"
    )
    (bench.root / "slots").mkdir()
    (bench.root / "slots").chmod(0o755)
    async with bench.agent():
        await asyncio.wait_for(step.logged.wait(), PATIENCE_SECONDS)
        await bench.coordinator.stop()
        (bench.root / "slots" / "go").touch()
        async with asyncio.timeout(PATIENCE_SECONDS):
            while not bench.has_ended(step):
                await asyncio.sleep(0.02)
        await bench.coordinator.start()
        await ended(step)
    assert step.text == "1\n2\n" + "".join(f"{number}\n" for number in range(1, 300_001))
    assert step.completion is not None
    assert step.completion.status is Completion.SUCCESS
    assert any(
        lease.step_id == step.step_id for poll in bench.coordinator.polls for lease in poll.leases
    )


async def test_an_unknown_credential_is_replaced_by_registering_anew(bench: Bench) -> None:
    first = bench.coordinator.add_step("true")
    async with bench.agent():
        await ended(first)
        bench.coordinator.forget_agents()
        second = bench.coordinator.add_step("true")
        await ended(second)
    assert len(bench.coordinator.registrations) == 2
    assert (bench.data / "credential").stat().st_mode & 0o777 == 0o600


async def test_the_credential_is_kept_for_the_next_start(bench: Bench) -> None:
    for _ in range(2):
        step = bench.coordinator.add_step("true")
        async with bench.agent():
            await ended(step)
    assert len(bench.coordinator.registrations) == 1


async def test_a_refused_registration_is_said(bench: Bench) -> None:
    with pytest.raises(RegistrationRefusedError, match="no such token"):
        await bench.new_agent(token="wrong").run()


async def test_one_data_folder_has_one_agent(bench: Bench) -> None:
    step = bench.coordinator.add_step("true")
    async with bench.agent():
        await ended(step)
        with pytest.raises(AlreadyRunningError, match="another agent uses"):
            await bench.new_agent().run()


async def test_draining_finishes_what_runs_and_takes_nothing_new(bench: Bench) -> None:
    first = bench.coordinator.add_step("echo begun; sleep 0.5; echo ended")
    agent = bench.new_agent()
    running = asyncio.create_task(agent.run())
    await asyncio.wait_for(first.logged.wait(), PATIENCE_SECONDS)
    agent.begin_drain()
    second = bench.coordinator.add_step("true")
    await asyncio.wait_for(running, PATIENCE_SECONDS)
    assert first.text == "begun\nended\n"
    assert not second.started.is_set()


async def test_a_drain_of_the_coordinators_wish_ends_the_agent(bench: Bench) -> None:
    bench.coordinator.drain = True
    await asyncio.wait_for(bench.new_agent().run(), PATIENCE_SECONDS)


async def test_cancelling_all_reports_the_running_steps_lost(bench: Bench) -> None:
    step = bench.coordinator.add_step("echo begun; sleep 1000")
    agent = bench.new_agent()
    running = asyncio.create_task(agent.run())
    await asyncio.wait_for(step.logged.wait(), PATIENCE_SECONDS)
    started = quiet_seconds()
    agent.cancel_all()
    await asyncio.wait_for(running, PATIENCE_SECONDS)
    assert quiet_seconds() - started < 2
    assert step.completion is not None
    assert step.completion.reason is CompletionReason.LOST


async def test_cancelling_all_ends_also_when_the_coordinator_is_away(bench: Bench) -> None:
    step = bench.coordinator.add_step("echo begun; sleep 1000")
    agent = bench.new_agent()
    running = asyncio.create_task(agent.run())
    await asyncio.wait_for(step.logged.wait(), PATIENCE_SECONDS)
    await bench.coordinator.stop()
    agent.cancel_all()
    await asyncio.wait_for(running, 60)
    assert bench.journal == [f"{step.step_id}-1"]


async def test_leases_are_renewed_apart_from_the_poll(bench: Bench) -> None:
    step = bench.coordinator.add_step("sleep 0.5")
    async with bench.agent():
        await ended(step)
    assert [lease.step_id for lease in bench.coordinator.renewals[0].leases] == [step.step_id]


async def test_a_clean_step_with_caches_says_that_they_are_bypassed(bench: Bench) -> None:
    cache = [{"path": "~/.cache/x", "id": "x1"}]
    with_caches = bench.coordinator.add_step("echo hello", clean=True, cache_dirs=cache)
    without = bench.coordinator.add_step("echo hello", clean=True)
    normal = bench.coordinator.add_step("echo hello", cache_dirs=cache)
    async with bench.agent():
        for step in (with_caches, without, normal):
            await ended(step)
    assert with_caches.text == "cache: bypassed (clean build)\nhello\n"
    assert without.text == normal.text == "hello\n"


async def test_a_step_that_the_coordinator_refuses_fails_with_its_words_and_runs_nothing(
    bench: Bench,
) -> None:
    step = bench.coordinator.add_step("echo ran", refused="the image `x` is another account's")
    async with bench.agent():
        await ended(step)
    assert step.completion is not None
    assert step.completion.status is Completion.FAILED
    assert step.completion.reason is CompletionReason.IMAGE
    assert step.completion.message == "the image `x` is another account's"
    assert step.frames == []
