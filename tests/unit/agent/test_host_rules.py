from __future__ import annotations

from pathlib import Path

import pytest

from agent.engines.host import SCRIPT_PATH, HostEngine, refusal, script_environment
from agent.engines.host_folders import AttemptFolders, place_caches
from agent.engines.protocol import CacheMount, StepRequest

FOLDERS = AttemptFolders(root=Path("/w/a"))


def request(**more: object) -> StepRequest:
    values = {
        "attempt_id": "a-1",
        "step_name": "s",
        "image": None,
        "script": "true",
        "env": {},
        "timeout_seconds": 1.0,
        "outputs": Path("/o"),
        "scratch": Path("/s"),
        **more,
    }
    return StepRequest(**values)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("path", "place"),
    [
        ("/workspace/node_modules", "/w/a/workspace/node_modules"),
        ("node_modules/", "/w/a/workspace/node_modules"),
        ("/root/.cache/pip", "/w/a/home/.cache/pip"),
        ("~/.cache", "/w/a/home/.cache"),
        ("$HOME/.cache", "/w/a/home/.cache"),
    ],
)
def test_caches_below_workspace_and_home_are_linked(path: str, place: str) -> None:
    links = place_caches([CacheMount(id="c", path=path)], FOLDERS)
    assert links.links == {Path(place): CacheMount(id="c", path=path)}
    assert not links.notes


@pytest.mark.parametrize(
    "path", ["/var/cache", "/workspace", "/workspace/", "/root", ".", "", "~bob/x", "/root/../etc"]
)
def test_other_caches_are_ignored_with_a_note(path: str) -> None:
    links = place_caches([CacheMount(id="c", path=path)], FOLDERS)
    assert not links.links
    assert len(links.notes) == 1


def test_the_workspace_variable_is_not_the_steps_to_set() -> None:
    environment = script_environment(
        request(env={"PUSHROD_WORKSPACE": "/x", "LANG": "de_DE"}), FOLDERS
    )
    assert environment["PUSHROD_WORKSPACE"] == "/w/a/workspace"
    assert environment["LANG"] == "de_DE"


def test_scripts_have_a_plain_path_whatever_started_the_agent(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("PATH", "/root/of/the/agent:/bin")
    assert script_environment(request(), FOLDERS)["PATH"] == SCRIPT_PATH
    own = script_environment(request(env={"PATH": "/opt/tools:/bin"}), FOLDERS)
    assert own["PATH"] == "/opt/tools:/bin"


@pytest.mark.parametrize("env", [{"A\0": "b"}, {"A": "b\0"}, {"": "b"}, {"A=B": "c"}])
def test_an_impossible_variable_is_refused(env: dict[str, str]) -> None:
    assert "environment variable" in str(refusal(request(env=env)))


def test_an_images_own_command_is_for_another_engine() -> None:
    assert "needs an agent on BuildKit" in str(refusal(request(own_command=True, script="")))


def test_scripts_never_run_as_root() -> None:
    with pytest.raises(ValueError, match="never run as root"):
        HostEngine(data_dir=Path("/w"), user_ids=range(3))
