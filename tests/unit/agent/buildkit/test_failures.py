from __future__ import annotations

import pytest

from agent.engines.buildkit.failures import (
    EngineError,
    image_problem,
    is_gone,
    process_exit_code,
    step_problem,
)

WITHOUT_RIGHTS = (
    "granting entitlement security.insecure is not allowed by build daemon configuration",
    "security.insecure is not allowed",
)
"""What dockerd 26 says, and what is said of a process whose build did not ask."""


def failed(details: str, code: str = "UNKNOWN") -> EngineError:
    return EngineError(code=code, details=details)


@pytest.mark.parametrize(
    ("details", "said"),
    [
        ("127.0.0.1:5000/x:1: not found", "check the name and the tag"),
        ("pull access denied, repository does not exist", "check the name and the tag"),
        ("dial tcp: lookup registry.example: no such host", "can't be reached"),
        ("unexpected status: 401 unauthorized", "pushrod registry login"),
    ],
)
def test_an_image_that_is_not_to_be_had_says_what_to_do(details: str, said: str) -> None:
    message = image_problem("acme/x", failed(details))

    assert "'acme/x'" in message
    assert said in message
    assert details in message


@pytest.mark.parametrize(
    "details",
    [
        'runc run failed: unable to start container process: exec: "bash": '
        "executable file not found in $PATH: unknown",
        'process "bash" did not complete: exec: "bash": executable file not found in $PATH',
    ],
)
def test_an_image_without_bash_is_told_as_that(details: str) -> None:
    assert "has no bash" in step_problem("busybox", failed(details))


@pytest.mark.parametrize(
    "details",
    [
        'exec: "sh": executable file not found in $PATH: unknown',
        'process "sh /.pushrod/step/wrapper.sh 60.0" did not complete successfully: exit code: 1',
    ],
)
def test_an_image_without_sh_is_told_as_that(details: str) -> None:
    said = step_problem("distroless", failed(details))
    assert "has no sh that could run the step's script: install sh" in said
    assert "`shell: sh`" not in said


def test_an_unknown_failure_keeps_the_engines_words() -> None:
    assert "strange" in step_problem("busybox", failed("strange"))


def test_the_exit_code_is_read_from_the_engines_words() -> None:
    details = 'process "bash" did not complete successfully: exit code: 137'

    assert process_exit_code(failed(details)) == 137
    assert process_exit_code(failed("exit code: 7 somewhere")) is None


@pytest.mark.parametrize(
    ("error", "gone"),
    [
        (failed("Socket closed", "UNAVAILABLE"), True),
        (failed("context canceled"), True),
        (failed("not found"), False),
    ],
)
def test_an_engine_that_went_away_is_told_from_one_that_refuses(
    error: EngineError, gone: bool
) -> None:
    assert is_gone(error) is gone


@pytest.mark.parametrize("details", WITHOUT_RIGHTS)
def test_an_engine_that_gives_nobody_all_rights_says_how_it_would(details: str) -> None:
    for said in (image_problem("acme/x", failed(details)), step_problem("acme/x", failed(details))):
        assert "of dockerd, set `builder: {entitlements: {security-insecure: true}}`" in said
        assert "insecure-entitlements" in said
        assert details in said
