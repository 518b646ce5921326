"""What steps hand on by `$PUSHROD_OUTPUT`, from the push to the scripts of both engines."""

from __future__ import annotations

from tests.e2e.processes import Pushrod, Repository, step_named
from tests.e2e.test_main_job import workflow


def test_values_reach_the_scripts_of_dependants_and_mistakes_fail_their_step(
    pushrod: Pushrod, repository: Repository, image: str
) -> None:
    project = pushrod.create_project("values")
    assert pushrod.command("secret", "set", "values", "KEY", given="sesame").returncode == 0
    text = workflow(
        image,
        'name: plan\nrun: |\n  echo "tag=v 1" >> "$PUSHROD_OUTPUT"\n'
        '  printf "notes<<END\\none\\ntwo\\nEND\\n" >> $PUSHROD_OUTPUT',
        'name: middle\ndependsOn: plan\nrun: echo "$PUSHROD_OUTPUT_PLAN_TAG"',
        'name: each\nmatrix: {os: [a, b]}\nrun: echo "os=$PUSHROD_MATRIX_OS" >> "$PUSHROD_OUTPUT"',
        "name: last\ndependsOn: [middle, each]\n"
        'run: echo "$PUSHROD_OUTPUT_PLAN_NOTES"; env | grep ^PUSHROD_OUTPUT_EACH | sort',
        "name: beside\nrun: env | grep PUSHROD_OUTPUT_ || echo none",
        "name: secret\nallowFailure: true\nsecrets: [KEY]\n"
        'run: echo "token=$KEY" >> "$PUSHROD_OUTPUT"',
        "name: link\nallowFailure: true\n"
        'run: rm -f "$PUSHROD_OUTPUT"; ln -s /etc/passwd "$PUSHROD_OUTPUT"',
        'name: pipe\nallowFailure: true\nrun: rm -f "$PUSHROD_OUTPUT"; mkfifo "$PUSHROD_OUTPUT"',
        'name: large\nallowFailure: true\nrun: head -c 70000 /dev/zero > "$PUSHROD_OUTPUT"',
        "name: wrong\nallowFailure: true\nrun: echo hello > $PUSHROD_OUTPUT",
        'name: gone\nrun: rm -f "$PUSHROD_OUTPUT"',
    )
    build = pushrod.api.wait_finished(pushrod.push_workflow(repository, project, text)["id"])
    assert build["state"] == "succeeded", build

    def log_of(name: str) -> str:
        return pushrod.api.log(step_named(build, name)["id"]).decode()

    assert step_named(build, "plan")["outputs"] == {"tag": "v 1", "notes": "one\ntwo"}
    assert log_of("middle") == "v 1\n"
    assert log_of("last") == (
        "one\ntwo\nPUSHROD_OUTPUT_EACH__A__OS=a\nPUSHROD_OUTPUT_EACH__B__OS=b\n"
    )
    assert log_of("beside") == "none\n"
    for name, said in (
        ("secret", "`token` holds a secret of the step"),
        ("link", "is no file of the script's own any more"),
        ("pipe", "is no file of the script's own any more"),
        ("large", "a step may write 64 KiB"),
        ("wrong", "line 1: write `key=value`"),
    ):
        step = step_named(build, name)
        assert (step["status"], step["reason"]) == ("FAILED", "outputs"), name
        assert said in step["message"], name
        assert "sesame" not in step["message"]
        assert "outputs" not in step
