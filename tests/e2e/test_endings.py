"""How builds end that are cancelled: scripts are asked to, and steps clean up. Both engines."""

from __future__ import annotations

from tests.e2e.processes import Pushrod, Repository, is_running, step_named
from tests.e2e.test_main_job import workflow

DEPLOY = """\
name: deploy
grace: 1m
run: |
  trap 'echo giving back; sleep 0.3; echo given back; exit 1' TERM
  echo started
  sleep 1000 & wait $!"""
NEXT = "name: next\ndependsOn: [deploy]\nrun: echo never"
NEVER = "name: never\ndependsOn: [next]\nrunOn: cancelled\nrun: echo never"


def deploying(pushrod: Pushrod, repository: Repository, name: str, text: str) -> str:
    """The id of a build whose deployment is under way."""
    build_id = str(pushrod.push_workflow(repository, pushrod.create_project(name), text)["id"])
    build = pushrod.api.wait(build_id, is_running("deploy"))
    pushrod.api.wait_for_log(step_named(build, "deploy")["id"], b"started")
    return build_id


def cancel(pushrod: Pushrod, build_id: str) -> None:
    pushrod.api.post(f"/api/projects/-/builds/{build_id}/cancel", {})


def test_a_cancelled_build_gives_back_and_cleans_up(
    pushrod: Pushrod, repository: Repository, image: str
) -> None:
    clean = "name: clean\ndependsOn: [deploy]\nrunOn: [failure, cancelled]\nrun: echo cleaned"
    build_id = deploying(pushrod, repository, "cleans", workflow(image, DEPLOY, NEXT, clean, NEVER))
    cancel(pushrod, build_id)
    build = pushrod.api.wait_finished(build_id)
    assert (build["state"], build["reason"]) == ("cancelled", "cancelled by admin")
    assert {step["name"]: step["status"] for step in build["steps"]} == {
        "deploy": "CANCELLED",
        "next": "CANCELLED",
        "clean": "SUCCESS",
        "never": "CANCELLED",
    }
    deploy, clean_up = (step_named(build, name)["id"] for name in ("deploy", "clean"))
    assert pushrod.api.log(deploy) == b"started\ngiving back\ngiven back\n"
    assert pushrod.api.log(clean_up) == b"cleaned\n"


def test_a_second_cancel_ends_what_cleans_up(
    pushrod: Pushrod, repository: Repository, image: str
) -> None:
    clean = (
        "name: clean\ndependsOn: [deploy]\nrunOn: cancelled\n"
        "run: trap 'echo stopped; exit 1' TERM; echo cleaning; sleep 1000 & wait $!"
    )
    build_id = deploying(pushrod, repository, "twice", workflow(image, DEPLOY, clean))
    cancel(pushrod, build_id)
    build = pushrod.api.wait(build_id, is_running("clean"))
    pushrod.api.wait_for_log(step_named(build, "clean")["id"], b"cleaning")
    assert build["state"] == "running"
    cancel(pushrod, build_id)
    build = pushrod.api.wait_finished(build_id)
    assert build["state"] == "cancelled"
    assert pushrod.api.log(step_named(build, "clean")["id"]) == b"cleaning\nstopped\n"


def test_the_agents_second_signal_asks_the_scripts_to_end(
    pushrod: Pushrod, repository: Repository, image: str
) -> None:
    """They are to run elsewhere, so nothing of their build cleans up."""
    pushrod.start_agent("leaving", labels=("place=leaving",))
    agent = pushrod.agents.pop("leaving")
    clean = "name: clean\ndependsOn: [deploy]\nrunOn: cancelled\nrun: echo never"
    there = DEPLOY.replace("grace: 1m", "grace: 1m\nagents: {place: leaving}")
    build_id = deploying(pushrod, repository, "leaving", workflow(image, there, clean))
    agent.interrupt()
    deploy = step_named(pushrod.api.build(build_id), "deploy")["id"]
    pushrod.api.wait_for_log(deploy, b"started")
    assert agent.stop() == 0
    assert pushrod.api.log(deploy, attempt=1) == b"started\ngiving back\ngiven back\n"
    build = pushrod.api.build(build_id)
    states = {step["name"]: step["status"] for step in build["steps"]}
    assert states == {"deploy": "READY", "clean": "BLOCKED"}
    cancel(pushrod, build_id)
    pushrod.api.wait_finished(build_id)


def test_a_build_that_is_not_cancelled_needs_no_cleaning(
    pushrod: Pushrod, repository: Repository, image: str
) -> None:
    text = workflow(
        image,
        "name: deploy\nrun: echo done",
        "name: clean\ndependsOn: [deploy]\nrunOn: cancelled\nrun: echo never",
        "name: both\ndependsOn: [deploy]\nrunOn: [success, cancelled]\nrun: echo done",
    )
    project = pushrod.create_project("done")
    build = pushrod.api.wait_finished(pushrod.push_workflow(repository, project, text)["id"])
    assert build["state"] == "succeeded"
    assert [step["status"] for step in build["steps"]] == ["SUCCESS", "SKIPPED", "SUCCESS"]
    assert step_named(build, "clean")["reason"] == "no dependency was cancelled"
