"""`generates`, from the push to the scripts of both engines."""

from __future__ import annotations

from tests.e2e.processes import Pushrod, Repository, step_named
from tests.e2e.test_main_job import workflow


def test_a_step_writes_steps_that_run_before_what_waits_for_it(
    pushrod: Pushrod, repository: Repository, image: str
) -> None:
    project = pushrod.create_project("generated")
    text = workflow(
        image,
        "name: shards\noutputPaths: [kept.txt]\ngenerates: ci/more.yml\nrun: |\n"
        "  echo kept > kept.txt; mkdir -p ci\n"
        f'  echo "templates: {{t: {{params: {{n: {{}}}}, image: {image}, '
        "run: 'cat kept.txt; echo \\$PUSHROD_WITH_N > \\$PUSHROD_WITH_N.txt', "
        "outputPaths: ['*.txt']}}\" > ci/more.yml\n"
        '  echo "steps:" >> ci/more.yml\n'
        "  for n in 1 2; do\n"
        '    echo "- {name: shard $n, use: t, with: {n: $n}}" >> ci/more.yml\n'
        "  done",
        "name: report\ndependsOn: [shards]\nrun: cat 1.txt 2.txt",
        "name: wrong\nallowFailure: true\ngenerates: more.yml\nrun: 'echo \"steps: 1\" > more.yml'",
        "name: none\nallowFailure: true\ngenerates: more.yml\nrun: 'true'",
    )
    build = pushrod.api.wait_finished(pushrod.push_workflow(repository, project, text)["id"])
    assert build["state"] == "succeeded", build

    def log_of(name: str) -> str:
        return pushrod.api.log(step_named(build, name)["id"]).decode()

    assert log_of("shard 1") == log_of("shard 2") == "kept\n"
    assert log_of("report") == "1\n2\n"
    wrong, none = step_named(build, "wrong"), step_named(build, "none")
    assert wrong["reason"] == none["reason"] == "outputs"
    assert wrong["message"].startswith("more.yml:1:8: `steps` must be a list")
    assert none["message"].endswith("the script left no file `more.yml`, which it `generates`")
