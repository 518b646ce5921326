"""What is the same on both engines, and which test holds it on which: writes docs/engines.md.

    python -m tests.engines

Only tests that pytest finds are taken, with the engine that they run on: by their parameter, or by
the folder of tests that knows no other.
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "engines.md"
HOST, BUILDKIT = "host", "buildkit"
ENGINES = {HOST: "host engine", BUILDKIT: "BuildKit"}
OF_ONE_ENGINE = {
    "tests/integration/buildkit/": BUILDKIT,
    "tests/integration/agent/": HOST,
}
"""Where tests have no parameter for their engine, that of their folder."""
KEPT = "tests/integration/buildkit/test_kept_outputs.py"
GIT = "tests/integration/steps/test_git_folder.py"
HOST_TESTS = "tests/integration/agent/test_host_engine.py"
HOST_ENDINGS = "tests/integration/agent/test_host_endings.py"
SCRIPTS = "tests/integration/buildkit/test_buildkit_scripts.py"
FILES = "tests/integration/buildkit/test_buildkit_files.py"
ENDINGS = "tests/integration/buildkit/test_buildkit_endings.py"
LANGUAGE = "tests/e2e/test_workflow_language.py"
LAYOUTS = "tests/integration/steps/test_real_layouts.py"
MAIN = "tests/e2e/test_main_job.py"
SERVICES = "tests/integration/buildkit/test_services.py"
PRIVILEGED = "tests/integration/buildkit/test_privileged.py"


@dataclass(frozen=True, slots=True, kw_only=True)
class Behaviour:
    what: str
    tests: Mapping[str, str]
    """By engine, as `file::function`."""
    unlike: str = ""
    """What an engine without a test does instead."""


def both(what: str, test: str) -> Behaviour:
    """A test that takes the engine as its parameter."""
    return Behaviour(what=what, tests={HOST: test, BUILDKIT: test})


def beside(what: str, test: str) -> Behaviour:
    """Of containers, which the host engine has none of."""
    return Behaviour(what=what, tests={BUILDKIT: test}, unlike="fails the step and says why")


def each(what: str, host: str, buildkit: str) -> Behaviour:
    return Behaviour(what=what, tests={HOST: host, BUILDKIT: buildkit})


BEHAVIOURS: Mapping[str, Sequence[Behaviour]] = {
    "Outputs": (
        both(
            "links, also through linked folders and by patterns; empty folders, permission bits; "
            "setuid and setgid dropped; odd names",
            f"{KEPT}::test_the_next_step_has_what_the_script_made",
        ),
        both(
            "the same from a push to the next step's script, over the coordinator",
            "tests/e2e/test_kept_outputs.py::test_the_next_step_has_the_tree_that_the_script_made",
        ),
        both(
            "files keep their times, in whole seconds",
            f"{KEPT}::test_times_stay_also_where_an_earlier_step_made_the_same",
        ),
        both(
            "pipes, sockets, control characters, names that aren't UTF-8: the step fails and names "
            "them, the rest is kept",
            f"{KEPT}::test_what_cannot_be_kept_fails_the_step_and_the_rest_is_kept",
        ),
        each(
            "devices are named as such",
            f"{HOST_TESTS}::test_a_device_among_the_outputs_cannot_be_kept",
            f"{FILES}::test_devices_are_named_as_such",
        ),
        both(
            "nothing is written through a link of a dependency",
            f"{KEPT}::test_nothing_is_written_through_a_link_of_the_inputs",
        ),
        each(
            "outputs are kept also when the script fails",
            f"{HOST_TESTS}::test_outputs_are_collected_also_after_a_failure",
            f"{FILES}::test_outputs_are_collected_also_when_the_script_fails",
        ),
        each(
            "nothing outside the workspace is collected",
            f"{HOST_TESTS}::test_an_output_path_that_points_outside_is_refused_with_a_note",
            f"{FILES}::test_nothing_outside_the_workspace_is_ever_collected",
        ),
        both(
            "values for later steps (`$PUSHROD_OUTPUT`)",
            "tests/e2e/test_output_values.py::"
            "test_values_reach_the_scripts_of_dependants_and_mistakes_fail_their_step",
        ),
        both(
            "reports",
            "tests/e2e/test_reports.py::test_reports_are_read_whatever_becomes_of_the_step",
        ),
    ),
    "`.git`": (
        both(
            "the commit alone, `depth`, `depth` and `tags`, `full`: clean, whole, of the script's "
            "own user",
            f"{GIT}::test_a_script_finds_its_commit_in_a_repository_that_is_clean",
        ),
        both("`git: false`", f"{GIT}::test_without_git_there_is_no_repository"),
        both(
            "a script may do with it what it likes, and the next step has one of its own",
            f"{GIT}::test_a_script_may_do_with_its_repository_what_it_likes",
        ),
        both("later commits and tags", f"{GIT}::test_later_commits_and_tags_are_seen"),
        both(
            "a version from tags", f"{GIT}::test_a_python_project_takes_its_version_from_its_tags"
        ),
        both(
            "no credential in it, submodules are no change",
            f"{GIT}::test_no_credential_is_in_it_and_its_submodules_are_no_change",
        ),
        Behaviour(
            what="none in an image's build context",
            tests={BUILDKIT: f"{GIT}::test_an_images_build_has_no_repository_in_its_context"},
            unlike="builds no images",
        ),
    ),
    "Source": (
        both(
            "names that aren't UTF-8",
            f"{MAIN}::test_a_file_name_that_is_not_utf8_is_built_byte_by_byte",
        ),
        both(
            "a Python project's layout",
            f"{LAYOUTS}::test_a_python_project_is_installed_and_used_by_the_next_step",
        ),
        both(
            "a Go project's",
            f"{LAYOUTS}::test_a_go_project_builds_with_its_module_cache_and_commit",
        ),
        both(
            "a Node project's",
            f"{LAYOUTS}::test_a_node_project_keeps_its_links_to_programs_and_packages",
        ),
        both("a C project's", f"{LAYOUTS}::test_a_c_project_generates_and_links_what_it_commits"),
    ),
    "Log": (
        each(
            "both streams in the script's order, no line torn",
            f"{HOST_TESTS}::test_lines_of_both_streams_keep_the_scripts_order",
            f"{SCRIPTS}::test_lines_of_both_streams_keep_the_scripts_order",
        ),
        each(
            "exact to the byte",
            f"{HOST_TESTS}::test_both_streams_come_whole_and_byte_exact",
            f"{SCRIPTS}::test_both_streams_are_one_and_kept_without_a_last_newline",
        ),
        each(
            "`/dev/stdout` and `/dev/stderr` by their names",
            f"{HOST_TESTS}::test_a_script_opens_its_streams_by_their_names",
            f"{SCRIPTS}::test_a_script_opens_its_streams_by_their_names",
        ),
        both(
            "secrets are given and masked",
            f"{LANGUAGE}::test_a_step_gets_its_secrets_and_its_log_does_not_show_them",
        ),
        both(
            "also as `set -x`, JSON and URLs spell them",
            f"{LANGUAGE}::test_a_trace_json_and_a_url_show_no_secret",
        ),
    ),
    "Endings": (
        each(
            "TERM to the script's group, its grace (up to 5 minutes), then KILL to all",
            f"{HOST_ENDINGS}::test_a_script_is_asked_to_end",
            f"{ENDINGS}::test_a_script_is_asked_to_end",
        ),
        each(
            "a late script is asked, and its outputs are kept",
            f"{HOST_ENDINGS}::test_a_late_script_is_asked_to_end_and_its_outputs_are_kept",
            f"{ENDINGS}::test_a_late_script_is_asked_to_end_and_its_outputs_are_kept",
        ),
        each(
            "`grace: 0`",
            f"{HOST_ENDINGS}::test_without_a_grace_nobody_is_asked",
            f"{ENDINGS}::test_without_a_grace_nobody_is_asked",
        ),
        each(
            "a kill (a lost lease) ends the grace",
            f"{HOST_ENDINGS}::test_a_kill_ends_the_grace",
            f"{ENDINGS}::test_a_kill_ends_the_grace",
        ),
        both(
            "a cancel lets the script give back, and `runOn: cancelled` clean up",
            "tests/e2e/test_endings.py::test_a_cancelled_build_gives_back_and_cleans_up",
        ),
        both(
            "a second cancel ends that, too",
            "tests/e2e/test_endings.py::test_a_second_cancel_ends_what_cleans_up",
        ),
        both(
            "the agent's second signal",
            "tests/e2e/test_endings.py::test_the_agents_second_signal_asks_the_scripts_to_end",
        ),
        both(
            "nothing of a cancelled step is left running",
            f"{MAIN}::test_a_cancelled_build_ends_with_no_process_left",
        ),
    ),
    "Services": (
        beside(
            "found by name, each also by those after it",
            f"{SERVICES}::test_a_script_reaches_services_by_name_and_each_those_before_it",
        ),
        beside(
            "ready by `tcp`, `http`, `exec`, or as soon as it is started",
            f"{SERVICES}::test_a_service_is_ready_by_what_it_says",
        ),
        beside(
            "never ready: the step fails and says what was asked",
            f"{SERVICES}::test_one_that_is_never_ready_fails_the_step",
        ),
        beside(
            "one that ends before it is ready, or while the script runs, fails the step",
            f"{SERVICES}::test_one_that_ends_before_it_is_ready_fails_the_step",
        ),
        beside("twenty at once", f"{SERVICES}::test_twenty_services_run_at_once"),
        beside(
            "one that prints 100 MB",
            f"{SERVICES}::test_a_service_that_prints_100_megabytes_breaks_nothing",
        ),
        beside("limits of memory", f"{SERVICES}::test_a_services_memory_is_limited"),
        beside("`user`", f"{SERVICES}::test_a_service_runs_as_the_user_it_names"),
        beside(
            "a cancel in each phase leaves nothing", f"{SERVICES}::test_a_cancel_leaves_nothing"
        ),
        beside(
            "what a killed agent has left is ended by the next",
            f"{SERVICES}::test_what_an_agent_that_was_killed_has_left_is_ended_by_the_next",
        ),
        beside(
            "another build's step can't reach one",
            f"{SERVICES}::test_another_builds_step_cant_reach_a_service",
        ),
        beside(
            "PostgreSQL, Redis and a web server beside one script",
            f"{SERVICES}::test_a_database_a_store_and_a_web_server_run_beside_a_script",
        ),
        beside(
            "`privileged`: all rights for that container alone, and Docker in it",
            f"{PRIVILEGED}::test_docker_runs_in_a_privileged_service",
        ),
    ),
    "The rest of a step": (
        both(
            "`user`: given in a container, refused on the host in words that say why",
            f"{LANGUAGE}::test_a_steps_user_is_given_in_a_container_and_refused_on_the_host",
        ),
        each(
            "a company's CA (`ca_file`)",
            "tests/integration/agent/test_host_authorities.py::"
            "test_a_script_reaches_a_server_of_an_authority_that_the_setting_names",
            "tests/integration/buildkit/test_authorities.py::"
            "test_a_step_finds_the_authorities_by_the_variables_of_the_usual_tools",
        ),
        both(
            "`network: none`", f"{LANGUAGE}::test_a_step_without_network_has_nothing_but_loopback"
        ),
        both(
            "`resources` hold, or the step says that they don't",
            f"{LANGUAGE}::test_limits_hold_or_the_step_says_that_they_do_not",
        ),
        both("`cacheDirs`", f"{MAIN}::test_a_cache_is_warm_the_second_time"),
        each(
            "`workdir`",
            "tests/integration/agent/test_host_shells.py::"
            "test_a_script_begins_in_its_folder_and_outputs_at_the_workspace",
            "tests/integration/buildkit/test_shells.py::"
            "test_a_script_begins_in_its_folder_and_other_paths_at_the_workspace",
        ),
        each(
            "`shell`",
            "tests/integration/agent/test_host_shells.py::test_a_script_runs_by_its_shell",
            "tests/integration/buildkit/test_shells.py::test_a_script_runs_by_its_shell",
        ),
    ),
}
HEAD = """\
# What holds on both engines

Written by `python -m tests.engines`: what a step finds and leaves, and the test that holds it on
each of the two. A unit test looks that pytest still finds these tests, each for its engine.
"""


def page() -> str:
    lines = [HEAD]
    for room, behaviours in BEHAVIOURS.items():
        lines += [
            f"## {room}\n",
            f"| behaviour | {' | '.join(ENGINES.values())} |",
            "|---|---|---|",
        ]
        for one in behaviours:
            cells = [f"`{one.tests[e]}`" if e in one.tests else one.unlike for e in ENGINES]
            lines.append(f"| {one.what} | {' | '.join(cells)} |")
        lines.append("")
    return "\n".join(lines)


def missing(collected: Iterable[str]) -> list[str]:
    """What the tables name and pytest doesn't find, for that engine."""
    found: dict[str, set[str]] = {}
    for node in collected:
        test, _, parameters = node.partition("[")
        found.setdefault(test, set()).update(_engines(test, parameters))
    return [
        f"{engine}: {test}"
        for behaviours in BEHAVIOURS.values()
        for one in behaviours
        for engine, test in one.tests.items()
        if engine not in found.get(test, ())
    ]


def _engines(test: str, parameters: str) -> Collection[str]:
    named = set(re.split(r"[-\]]", parameters)) & ENGINES.keys()
    return named or {engine for folder, engine in OF_ONE_ENGINE.items() if test.startswith(folder)}


def collected() -> Iterator[str]:
    """The ids of all tests in the files that are named, in a process of its own."""
    files = {
        test.partition("::")[0]
        for behaviours in BEHAVIOURS.values()
        for one in behaviours
        for test in one.tests.values()
    }
    command = [sys.executable, "-m", "pytest", "--collect-only", "-q", "-p", "no:cacheprovider"]
    done = subprocess.run(
        [*command, *sorted(files)], cwd=ROOT, check=True, capture_output=True, text=True
    )
    yield from (line for line in done.stdout.splitlines() if "::" in line)


def main() -> None:
    if lost := missing(collected()):
        sys.exit("pytest doesn't find\n" + "\n".join(lost))
    PAGE.write_text(page(), encoding="utf-8")


if __name__ == "__main__":
    main()
