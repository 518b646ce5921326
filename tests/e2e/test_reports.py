"""What tools report in files, from the push to what people see, on both engines."""

from __future__ import annotations

import json

from tests.e2e.processes import Pushrod, Repository, step_named
from tests.e2e.test_main_job import workflow

CASES = """\
<testsuite name="pytest"><testcase classname="tests.test_a" name="test_ok" time="0.25"/>
<testcase classname="tests.test_a" name="test_odd" time="0.5"><failure message="assert 1 == 2">
tests/test_a.py:7: AssertionError</failure></testcase>
"""
COVERAGE = """\
<?xml version="1.0"?>
<!DOCTYPE coverage SYSTEM "http://cobertura.sourceforge.net/xml/coverage-04.dtd">
<coverage><class filename="a.py"><lines><line number="1" hits="1"/><line number="2" hits="0"/>
</lines></class></coverage>
"""


def test_reports_are_read_whatever_becomes_of_the_step(
    pushrod: Pushrod, repository: Repository, image: str
) -> None:
    project = pushrod.create_project("reports")
    repository.write("cases.xml", CASES)
    repository.write("coverage.xml", COVERAGE)
    text = workflow(
        image,
        "name: unit\nretries: {max: 1, on: [failed]}\n"
        'reports: {junit: "reports/*.xml"}\nrun: |\n  mkdir reports\n'
        '  if [ "$PUSHROD_ATTEMPT" = 1 ]; then cp cases.xml reports/a.xml\n'
        "  else sed 's/<failure.*//; s/^tests.test_a.py.*/<\\/testcase>/' cases.xml "
        "> reports/a.xml\n"
        "  fi\n"
        "  echo '</testsuite>' >> reports/a.xml\n"
        '  test "$PUSHROD_ATTEMPT" = 2',
        "name: failed\nallowFailure: true\nreports: {junit: a.xml}\n"
        "run: |\n  cp cases.xml a.xml; echo '</testsuite>' >> a.xml\n  exit 3",
        "name: late\nallowFailure: true\ntimeout: 3s\ngrace: 1s\nreports: {junit: a.xml}\n"
        "run: cp cases.xml a.xml; sleep 100",
        "name: cover\nreports: {coverage: coverage.xml, summary: sum.md}\n"
        "run: echo '# Size <b>' > sum.md",
        "name: none\nreports: {junit: 'reports/*.xml', summary: none.md}\nrun: mkdir reports",
    )
    build = pushrod.api.wait_finished(pushrod.push_workflow(repository, project, text)["id"])
    assert build["state"] == "succeeded", build
    base = f"/api/projects/-/builds/{build['id']}"
    found = {one["step"]: one for one in pushrod.api.get(f"{base}/results")["steps"]}

    assert step_named(build, "unit")["attempt"] == 2
    assert found["unit"]["tests"] == {"tests": 2, "failed": 0, "skipped": 0, "seconds": 0.75}
    [flaky] = pushrod.api.get(f"{base}/tests?flaky=true")["tests"]
    assert (flaky["step"], flaky["name"], flaky["result"]) == ("unit", "test_odd", "passed")

    failed = step_named(build, "failed")
    assert (failed["reason"], failed["exitCode"]) == ("1 of 2 tests failed: test_odd", 3)
    late = step_named(build, "late")
    assert late["reason"] == "timeout"
    assert "reports: a.xml is not well-formed XML" in late["message"]
    assert found["late"]["sentence"] == "1 of 2 tests failed: test_odd"

    assert found["cover"]["coverage"]["percent"] == 50.0
    assert found["cover"]["summary"] == [{"tag": "h1", "children": ["Size <b>"]}]
    assert step_named(build, "none")["status"] == "SUCCESS"
    assert step_named(build, "none")["message"].splitlines() == [
        "reports: no file for `junit: reports/*.xml`",
        "reports: no file for `summary: none.md`",
    ]

    shown = pushrod.command("tests", f"reports#{build['number']}")
    assert shown.returncode == 0, shown.stderr
    assert "failed: 1 of 2 tests failed" in shown.stdout
    assert "FAILED failed: tests.test_a::test_odd (tests/test_a.py:7)" in shown.stdout
    assert "cover: coverage 50.00 % of 2 lines" in shown.stdout
    slowest = pushrod.command("tests", f"reports#{build['number']}/unit", "--slowest", "1")
    assert slowest.stdout.splitlines()[1:] == ["unit\ttests.test_a\ttest_odd\tpassed\t0.500\tflaky"]
    as_json = pushrod.command("tests", build["id"], "--failed", "--json")
    assert [one["step"] for one in json.loads(as_json.stdout)["tests"]] == ["failed", "late"]
    history = pushrod.command("tests", "--history", "test_odd", "--project", "reports")
    results = [line.split("\t")[2] for line in history.stdout.splitlines()[1:]]
    assert results == ["failed", "failed", "passed", "failed"]
    for wrong in (["tests"], ["tests", "--history", "x"]):
        assert pushrod.command(*wrong).returncode != 0
