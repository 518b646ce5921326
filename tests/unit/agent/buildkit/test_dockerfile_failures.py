"""Why an image was not built or pushed, in words for people."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest

from agent.engines.buildkit.dockerfile_failures import build_problem, is_of_push, push_problem
from agent.engines.buildkit.error_details import failed_place
from agent.engines.buildkit.failures import EngineError, FailedPlace
from agent.engines.buildkit.pb import status_pb2
from agent.engines.buildkit.registry_logins import RegistryLogins
from pipelines_schema.contract_images import RegistryLogin


def failed(details: str, place: FailedPlace | None = None) -> EngineError:
    return EngineError(code="UNKNOWN", details=details, place=place)


def test_the_failing_instruction_its_line_and_its_exit_code_are_told() -> None:
    details = 'process "/bin/sh -c pip install" did not complete successfully: exit code: 1'
    place = FailedPlace(line=7, instruction="RUN pip install -r requirements.txt")

    assert build_problem("Dockerfile", failed(details, place)) == (
        "Dockerfile:7: RUN pip install -r requirements.txt: exit code 1"
    )


def test_a_killed_instruction_says_what_is_likely() -> None:
    details = 'process "x" did not complete successfully: exit code: 137'

    said = build_problem("Dockerfile", failed(details, FailedPlace(line=2, instruction="RUN x")))

    assert said.startswith("Dockerfile:2: RUN x: killed (exit code 137), most likely")


def test_a_long_instruction_is_shortened() -> None:
    place = FailedPlace(line=2, instruction=f"RUN {'x' * 1000}")

    said = build_problem("Dockerfile", failed("failed for a reason", place))

    assert len(said) < 250
    assert said.endswith("…: failed for a reason")


@pytest.mark.parametrize("before", [150, 180, 190, 194, 196])
def test_an_instruction_that_is_shortened_shows_no_piece_of_a_secret(before: int) -> None:
    place = FailedPlace(line=2, instruction=f"RUN {'x' * before}hunter2-hunter2 {'y' * 50}")

    said = build_problem("Dockerfile", failed("for a reason", place), ["hunter2-hunter2"])

    assert "hun" not in said
    assert said.endswith("…: for a reason")


@pytest.mark.parametrize(
    ("details", "said"),
    [
        ("denied: requested access to the resource is denied", "pushrod registry login r.example"),
        ("unauthorized: authentication required", "pushrod registry login r.example"),
        ("no basic auth credentials", "pushrod registry login r.example"),
        ("Get https://r.example: http: server gave HTTP response to HTTPS client", "plain http"),
        ("tls: failed to verify: x509: certificate signed by unknown authority", "certificate"),
        ("dial tcp: lookup r.example: no such host", "can't be reached"),
        ("something else", "the engine says why (something else)"),
    ],
)
def test_a_refused_push_says_what_to_do(details: str, said: str) -> None:
    message = push_problem("r.example/app:1", details)

    assert message.startswith("r.example/app:1 could not be pushed: ")
    assert said in message
    assert details in message


def test_a_failed_push_is_told_from_a_failed_instruction() -> None:
    details = "failed to push r.example/app:1: server message: insufficient_scope"

    assert is_of_push(failed(details))
    assert not is_of_push(failed(details, FailedPlace(line=1, instruction="RUN x")))
    assert not is_of_push(failed("failed to read dockerfile"))


def test_an_image_that_may_not_be_read_is_no_failed_push() -> None:
    details = (
        "r.example/a:1: failed to resolve source metadata for r.example/a:1: failed to authorize: "
        "failed to fetch anonymous token: unexpected status: 401 Unauthorized"
    )

    assert not is_of_push(failed(details))
    assert "the registry refuses: give the project a login" in build_problem("f", failed(details))


def details_of(*sources: Any) -> bytes:
    made = status_pb2.Status(code=2, message="failed")
    for source in sources:
        part = made.details.add(type_url="github.com/moby/buildkit/errdefs.Source+json")
        part.value = json.dumps(source).encode()
    return made.SerializeToString()


def source(text: str, *lines: tuple[int, int]) -> dict[str, Any]:
    ranges = [{"start": {"line": first}, "end": {"line": last}} for first, last in lines]
    return {"info": {"data": base64.b64encode(text.encode()).decode()}, "ranges": ranges}


def test_the_place_is_read_from_the_engines_details() -> None:
    text = "FROM a\nRUN one && \\\n    two\n"

    assert failed_place(details_of(source(text, (2, 3)))) == FailedPlace(
        line=2, instruction="RUN one && two"
    )


@pytest.mark.parametrize(
    "details",
    [
        b"\xff\xff",
        b"",
        details_of([]),
        details_of({"info": {}}),
        details_of(source("FROM a\n")),
        details_of(source("FROM a\n", (9, 9))),
        details_of({"info": {"data": "?"}, "ranges": [{"start": {"line": "x"}}]}),
    ],
)
def test_details_of_another_shape_name_no_place(details: bytes) -> None:
    assert failed_place(details) is None


def test_a_login_goes_to_its_own_host_alone() -> None:
    hub = RegistryLogin(host="docker.io", username="h", password="1")
    other = RegistryLogin(host="r.example:5000", username="o", password="2")
    logins = RegistryLogins((hub, other))

    assert logins.of("registry-1.docker.io") == hub
    assert logins.of("R.example:5000") == other
    assert logins.of("r.example") is None
    header = json.loads(base64.urlsafe_b64decode(logins.docker_header("r.example:5000/a:1")))
    assert header == {"username": "o", "password": "2", "serveraddress": "r.example:5000"}
    assert json.loads(base64.urlsafe_b64decode(logins.docker_header("x.example/a:1"))) == {}
    assert "1" not in repr(logins)
