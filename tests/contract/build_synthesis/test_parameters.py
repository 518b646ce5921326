"""Parameters by the specification of builds of modules."""

from __future__ import annotations

from typing import Any

import pytest

from tests.contract.build_synthesis.modules import TRIGGER, check_error, trigger
from tests.integration.coordinator_fixture import (
    AgentCaller,
    Caller,
)

# Parameters


async def test_any_parameters_reach_the_scripts_of_a_workflow_that_declares_none(
    admin: Caller, project: dict[str, Any], agent: AgentCaller
) -> None:
    given = {"optimization": "O2; rm -rf $HOME", "jobs": 4, "debug": False, "ratio": 0.5}
    await trigger(admin, build_parameters=given)
    env = (await agent.take())["env"]
    assert {name: env[f"PUSHROD_PARAM_{name.upper()}"] for name in given} == {
        "optimization": "O2; rm -rf $HOME",
        "jobs": "4",
        "debug": "false",
        "ratio": "0.5",
    }


async def test_declared_parameters_follow_the_workflows_rules(
    admin: Caller, project: dict[str, Any], agent: AgentCaller
) -> None:
    await trigger(admin, build_target="strict", build_parameters={"note": "x"})
    env = (await agent.take())["env"]
    assert (env["PUSHROD_PARAM_LEVEL"], env["PUSHROD_PARAM_NOTE"]) == ("low", "x")


@pytest.mark.parametrize(
    ("target", "given", "problems"),
    [
        (
            "strict",
            {"level": "middle", "nope": 1},
            {
                "nope": "there is no parameter `nope`: did you mean `note`?",
                "level": "`level` must be one of `low`, `high`, not `middle`",
                "note": "the parameter `note` is missing, and has no default",
            },
        ),
        (
            "default",
            {"a-b": "x", "1": "x", "": "x", "long": "x" * 10_001, "Twice": 1, "TWICE": 2},
            {"a-b": "letters", "1": "letters", "": "letters", "long": "10,000", "TWICE": "same"},
        ),
        ("default", {f"p{n}": n for n in range(51)}, {"p0": "at most 50"}),
    ],
)
async def test_each_wrong_parameter_is_named(
    admin: Caller,
    project: dict[str, Any],
    target: str,
    given: dict[str, Any],
    problems: dict[str, str],
) -> None:
    body = {
        "module_name": "data_visualization",
        "build_target": target,
        "build_parameters": given,
    }
    said = check_error((await admin.post(TRIGGER, body)).expect(400))
    found = {
        one["path"].removeprefix("build_parameters."): one["message"] for one in said["details"]
    }
    assert found.keys() == problems.keys()
    for name, text in problems.items():
        assert text in found[name]
    assert await admin.builds(project) == []
