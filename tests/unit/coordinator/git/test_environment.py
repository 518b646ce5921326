from __future__ import annotations

import pytest

from coordinator.git.environment import git_environment


def configured(environment: dict[str, str]) -> dict[str, str]:
    count = int(environment["GIT_CONFIG_COUNT"])
    return {
        environment[f"GIT_CONFIG_KEY_{index}"]: environment[f"GIT_CONFIG_VALUE_{index}"]
        for index in range(count)
    }


def test_nothing_is_inherited_but_the_path(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/somewhere/bin")
    monkeypatch.setenv("GIT_DIR", "/elsewhere")
    monkeypatch.setenv("HOME", "/home/anna")
    monkeypatch.setenv("PUSHROD_TOKEN", "secret")
    environment = git_environment({})
    assert environment["PATH"] == "/somewhere/bin"
    assert "GIT_DIR" not in environment
    assert "PUSHROD_TOKEN" not in environment
    assert environment["HOME"] == "/dev/null"


def test_the_given_configuration_wins_over_ours() -> None:
    config = configured(git_environment({"pack.threads": "2", "http.receivepack": "true"}))
    assert config["pack.threads"] == "2"
    assert config["http.receivepack"] == "true"
    assert config["core.hooksPath"] == "/dev/null"
