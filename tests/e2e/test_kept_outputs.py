"""Links, folders, permissions and times, from a step's script to the next one's, on each engine."""

from __future__ import annotations

from pathlib import Path

from tests.e2e.processes import Pushrod, Repository, step_named

WORKFLOW = """\
name: ci
steps:
  - name: make
    image: {image}
    outputPaths: [venv, node_modules/, lib/libx.so, out, many, big]
    run: |
      mkdir -p venv/bin node_modules/ts/bin node_modules/.bin lib out/empty many
      ln -s /bin/bash venv/bin/python
      echo 'echo compiled' > node_modules/ts/bin/tsc; chmod 755 node_modules/ts/bin/tsc
      ln -s ../ts/bin/tsc node_modules/.bin/tsc
      echo so > lib/libx.so.1; ln -s libx.so.1 lib/libx.so
      echo 1 > out/old; touch -d @981173106 out/old; chmod 640 out/old
      for number in $(seq 300); do echo $number > many/$number; done
      head -c 5000000 /dev/zero > big
  - name: use
    image: {image}
    dependsOn: [make]
    run: |
      readlink venv/bin/python; readlink node_modules/.bin/tsc
      venv/bin/python node_modules/.bin/tsc
      cat lib/libx.so; ls -d out/empty; stat -c '%a %Y' out/old
      ls many | wc -l; cat many/7 many/300; wc -c < big
"""
SAID = b"""\
/bin/bash
../ts/bin/tsc
compiled
so
out/empty
640 981173106
300
7
300
5000000
"""


def test_the_next_step_has_the_tree_that_the_script_made(
    pushrod: Pushrod, tmp_path: Path, image: str
) -> None:
    repository = Repository.create(tmp_path / "repository")
    project = pushrod.create_project("kept")
    repository.write(".pushrod.yml", WORKFLOW.format(image=image))
    repository.commit("first")
    pushed = repository.push(project["pushUrl"], pushrod.api.token)
    assert pushed.returncode == 0, pushed.stderr
    (queued,) = pushrod.api.builds(project["id"])
    build = pushrod.api.wait_finished(queued["id"])
    assert build["state"] == "succeeded", [step.get("message") for step in build["steps"]]
    assert pushrod.api.log(step_named(build, "use")["id"]) == SAID

    made = step_named(build, "make")["id"]
    artifacts = pushrod.api.get(f"/api/steps/{made}/artifacts")
    outputs = pushrod.api.get(f"/api/steps/{made}/outputs")
    assert len(artifacts) == 304
    assert {"name": "lib/libx.so", "target": "libx.so.1"} in outputs["links"]
    assert {"name": "out/empty", "mode": 0o755} in outputs["folders"]
