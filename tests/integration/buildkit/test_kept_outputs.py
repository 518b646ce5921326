"""What of a step's outputs is there for the steps behind it: one table for both engines."""

from __future__ import annotations

import secrets
import shutil
import stat
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from agent.engines.host import HostEngine
from agent.engines.host_trees import remove_tree
from agent.engines.protocol import Engine, StepRequest, StepResult
from agent.step_reports import report_of
from pipelines_schema.contract import Completion, CompletionReason

from .conftest import Log, TestEngine, bench_of

pytestmark = pytest.mark.engine

LONG_AGO = 981173106


@dataclass(frozen=True, slots=True, kw_only=True)
class Ran:
    result: StepResult
    text: str
    outputs: Path


Run = Callable[..., Awaitable[Ran]]


@pytest.fixture
def ground() -> Iterator[Path]:
    """Reachable by the host engine's users, unlike pytest's own folders."""
    folder = Path(tempfile.mkdtemp(prefix="pushrod-kept-"))
    folder.chmod(0o711)
    yield folder
    remove_tree(folder)


@pytest.fixture(params=["host", "buildkit"])
async def run(
    request: pytest.FixtureRequest, engine_under_test: TestEngine, ground: Path
) -> AsyncIterator[Run]:
    if request.param == "host":
        host = HostEngine(
            data_dir=ground, work_dir=ground / "work", user_id_table=ground / "users" / "ids.json"
        )
        yield _runner(host, None, ground)
        await host.close()
        return
    async with bench_of(engine_under_test, ground, trusted=engine_under_test.lifted) as bench:
        yield _runner(bench.engine, bench.image, ground)


def _runner(engine: Engine, image: str | None, ground: Path) -> Run:
    async def run(script: str, output_paths: Sequence[str] = (), inputs: Path | None = None) -> Ran:
        attempt = secrets.token_hex(8)
        outputs, scratch = ground / f"o-{attempt}", ground / f"s-{attempt}"
        outputs.mkdir()
        scratch.mkdir()
        log = Log()
        result = await engine.run(
            StepRequest(
                attempt_id=attempt,
                step_name="test",
                image=image,
                script=script,
                env={},
                output_paths=output_paths,
                timeout_seconds=60,
                inputs=inputs,
                outputs=outputs,
                scratch=scratch,
            ),
            log,
        )
        return Ran(result=result, text=(log.stdout + log.stderr).decode(), outputs=outputs)

    return run


def described(folder: Path) -> dict[str, str]:
    return {str(path.relative_to(folder)): _one(path) for path in sorted(folder.rglob("*"))}


def _one(path: Path) -> str:
    status = path.lstat()
    if stat.S_ISLNK(status.st_mode):
        return f"-> {path.readlink()}"
    mode = f"{stat.S_IMODE(status.st_mode):o}"
    return f"{mode}/" if stat.S_ISDIR(status.st_mode) else f"{mode} {path.read_text().strip()}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    made: str
    paths: Sequence[str]
    kept: Mapping[str, str]
    then: str = "true"
    said: str = ""
    notes: Sequence[str] = field(default=())


REAL = "mkdir real; echo 1 > real/f; echo 2 > real/g; ln -s real lnk"
CASES = {
    "node_modules": Case(
        made="""mkdir -p node_modules/ts/bin node_modules/ts/lib node_modules/.bin
            echo 'cd "$(dirname "$(readlink -f "$0")")"; . ../lib/l.sh' > node_modules/ts/bin/tsc
            echo 'echo compiled' > node_modules/ts/lib/l.sh
            chmod 755 node_modules/ts/bin/tsc; ln -s ../ts/bin/tsc node_modules/.bin/tsc""",
        paths=["node_modules/"],
        kept={
            "node_modules": "755/",
            "node_modules/.bin": "755/",
            "node_modules/.bin/tsc": "-> ../ts/bin/tsc",
            "node_modules/ts": "755/",
            "node_modules/ts/bin": "755/",
            "node_modules/ts/bin/tsc": '755 cd "$(dirname "$(readlink -f "$0")")"; . ../lib/l.sh',
            "node_modules/ts/lib": "755/",
            "node_modules/ts/lib/l.sh": "644 echo compiled",
        },
        then="bash node_modules/.bin/tsc",
        said="compiled\n",
    ),
    "the workspace without its repository": Case(
        made="mkdir .git sub sub/.git; echo 1 > .git/HEAD; echo 2 > f; echo 3 > sub/.git/x",
        paths=["./", "**"],
        kept={"f": "644 2", "sub": "755/", "sub/.git": "755/", "sub/.git/x": "644 3"},
    ),
    "the repository by its name": Case(
        made="mkdir .git; echo 1 > .git/HEAD",
        paths=[".git/"],
        kept={".git": "755/", ".git/HEAD": "644 1"},
    ),
    "a virtualenv": Case(
        made="""mkdir -p venv/bin; ln -s /bin/bash venv/bin/python; ln -s python venv/bin/python3
            printf '#!/bin/sh\\necho tool' > venv/bin/tool; chmod 755 venv/bin/tool""",
        paths=["venv"],
        kept={
            "venv": "755/",
            "venv/bin": "755/",
            "venv/bin/python": "-> /bin/bash",
            "venv/bin/python3": "-> python",
            "venv/bin/tool": "755 #!/bin/sh\necho tool",
        },
        then="venv/bin/python3 venv/bin/tool",
        said="tool\n",
    ),
    "a library by its short name": Case(
        made="mkdir lib; echo so > lib/libx.so.1; ln -s libx.so.1 lib/libx.so; echo > lib/other",
        paths=["lib/libx.so"],
        kept={"lib": "755/", "lib/libx.so": "-> libx.so.1", "lib/libx.so.1": "644 so"},
        then="cat lib/libx.so",
        said="so\n",
    ),
    "a link to a file elsewhere": Case(
        made="mkdir build; echo 1.2.3 > build/app.txt; ln -s build/app.txt latest.txt",
        paths=["latest.txt"],
        kept={"build": "755/", "build/app.txt": "644 1.2.3", "latest.txt": "-> build/app.txt"},
        then="cat latest.txt",
        said="1.2.3\n",
    ),
    "a link that a pattern matches": Case(
        made="mkdir build; echo 1.2.3 > build/app.txt; ln -s build/app.txt latest.txt",
        paths=["*.txt"],
        kept={"build": "755/", "build/app.txt": "644 1.2.3", "latest.txt": "-> build/app.txt"},
    ),
    "a linked folder": Case(
        made=REAL,
        paths=["lnk/"],
        kept={"lnk": "-> real", "real": "755/", "real/f": "644 1", "real/g": "644 2"},
        then="cat lnk/g",
        said="2\n",
    ),
    "a file through a linked folder": Case(
        made=REAL,
        paths=["lnk/f"],
        kept={"lnk": "-> real", "real": "755/", "real/f": "644 1"},
        then="cat lnk/f",
        said="1\n",
    ),
    "a pattern through a linked folder": Case(
        made=REAL,
        paths=["lnk/*"],
        kept={"lnk": "-> real", "real": "755/", "real/f": "644 1", "real/g": "644 2"},
    ),
    "a linked folder that a pattern matches": Case(
        made=REAL,
        paths=["ln?/g"],
        kept={"lnk": "-> real", "real": "755/", "real/g": "644 2"},
    ),
    "any depth behind a link": Case(
        made="mkdir -p real/a; echo 1 > real/a/r.xml; echo 2 > real/no; ln -s real lnk",
        paths=["lnk/**/*.xml"],
        kept={"lnk": "-> real", "real": "755/", "real/a": "755/", "real/a/r.xml": "644 1"},
    ),
    "a link to a link by an absolute name": Case(
        made="""mkdir -p a/real b; echo 1 > a/real/f; ln -s ../a/real b/mid
            ln -s "$PWD/b/mid" first; ln -sfn first chain""",
        paths=["chain/f"],
        kept={
            "a": "755/",
            "a/real": "755/",
            "a/real/f": "644 1",
            "b": "755/",
            "b/mid": "-> ../a/real",
            "chain": "-> first",
            "first": "-> WORKSPACE/b/mid",
        },
    ),
    "links below a folder stay what they are": Case(
        made="""mkdir o; echo 1 > beside; ln -s ../beside o/beside; ln -s /etc o/etc
            ln -s . o/self
            ln -s ../../.. o/up; ln -s nowhere o/nowhere; ln -s nowhere nowhere
            ln -s .. o/above""",
        paths=["o", "nowhere"],
        kept={
            "nowhere": "-> nowhere",
            "o": "755/",
            "o/above": "-> ..",
            "o/beside": "-> ../beside",
            "o/etc": "-> /etc",
            "o/nowhere": "-> nowhere",
            "o/self": "-> .",
            "o/up": "-> ../../..",
        },
        then="readlink o/etc; readlink o/up",
        said="/etc\n../../..\n",
    ),
    "a link to a folder around itself": Case(
        made="mkdir -p d; echo 1 > d/f; ln -s ../d d/loop; ln -s .. d/all",
        paths=["d/loop", "d/all"],
        kept={"d": "755/", "d/all": "-> ..", "d/loop": "-> ../d"},
    ),
    "folders, permissions": Case(
        made="""mkdir -p o/empty/deep o/closed o/sticky; echo 1 > o/closed/f; echo 2 > o/set
            echo 3 > o/private; chmod 6755 o/set; chmod 400 o/private; chmod 1777 o/sticky
            chmod 500 o/closed""",
        paths=["o"],
        kept={
            "o": "755/",
            "o/closed": "500/",
            "o/closed/f": "644 1",
            "o/empty": "755/",
            "o/empty/deep": "755/",
            "o/private": "400 3",
            "o/set": "755 2",
            "o/sticky": "777/",
        },
        then="stat -c %a o/closed o/private o/set o/sticky; ls -d o/empty/deep",
        said="500\n400\n755\n777\no/empty/deep\n",
    ),
    "odd names": Case(
        made="""mkdir o; echo 1 > 'o/a [1] *'; echo 2 > o/-x; echo 3 > 'o/ü☃ \\ "'
            ln -s 'a [1] *' o/l
            ln o/-x o/hard""",
        paths=["o/a [1] *", "o/[-hlü]*"],
        kept={
            "o": "755/",
            "o/-x": "644 2",
            "o/a [1] *": "644 1",
            "o/hard": "644 2",
            "o/l": "-> a [1] *",
            'o/ü☃ \\ "': "644 3",
        },
    ),
    "nothing": Case(made="true", paths=["none", "no/*"], kept={}, notes=["none", "no/*"]),
}


@pytest.mark.parametrize("name", CASES)
async def test_the_next_step_has_what_the_script_made(name: str, run: Run) -> None:
    case = CASES[name]
    made = await run(f"echo $PWD\n{case.made}", case.paths)
    workspace = made.text.split("\n", 1)[0]
    after = await run(case.then, inputs=made.outputs)

    assert (made.result.exit_code, made.result.unkept) == (0, ())
    kept = {path: said.replace("WORKSPACE", workspace) for path, said in case.kept.items()}
    assert described(made.outputs) == kept
    assert [note.rpartition(" ")[2] for note in made.result.notes] == list(case.notes)
    assert (after.result.exit_code, after.text) == (0, case.said)


async def test_times_stay_also_where_an_earlier_step_made_the_same(run: Run) -> None:
    script = "mkdir -p o/d; echo 1 > o/d/f; ln -s f o/d/l; touch -d @{} o/d/f"
    for seconds in (LONG_AGO, LONG_AGO + 1000):
        made = await run(script.format(seconds), ["o"])
        after = await run("stat -c %Y o/d/f", inputs=made.outputs)
        assert after.text == f"{seconds}\n"


def _archived(name: str, mode: int) -> str:
    """One member of a cpio archive, without content."""
    fields = [1, mode, 0, 0, 1, 0, 0, 0, 0, 0, 0, len(name) + 1, 0]
    head = "070701" + "".join(f"{field:08x}" for field in fields) + name
    return head + "\\000" * (4 - len(head) % 4)


SOCKET = f"""\
cd {{}}; if command -v python3 >/dev/null
then python3 -c 'import os; os.mknod("socket", 0o140600)'
else printf '{_archived("socket", 0o140600)}{_archived("TRAILER!!!", 0)}' | cpio -i; fi"""
"""By whichever the machine or the image has."""
UNKEPT = {
    "a named pipe": ("mkfifo o/pipe", "o/pipe is a named pipe"),
    "a socket": (SOCKET.format("o"), "o/socket is a socket"),
    "a socket below": ("mkdir o/d; " + SOCKET.format("o/d"), "o/d/socket is a socket"),
    "a line end": ("echo 1 > $'o/new\\nline'", r"o/new\nline has a control character"),
    "a folder's line end": ("mkdir $'o/new\\nfolder'", r"o/new\nfolder has a control character"),
    "a name that is not UTF-8": ("echo 1 > $'o/latin-\\xe9'", r"not UTF-8"),
    "a target that is not UTF-8": ("ln -s $'latin-\\xe9' o/link", r"o/link is a link to a name"),
    "a folder elsewhere": ("ln -s /etc o/etc", "o/etc is a link to outside the workspace"),
}


@pytest.mark.parametrize("name", UNKEPT)
async def test_what_cannot_be_kept_fails_the_step_and_the_rest_is_kept(name: str, run: Run) -> None:
    script, said = UNKEPT[name]
    made = await run(f"mkdir o; echo 1 > o/fine; {script}", ["o", "o/etc/passwd"])
    report = report_of(made.result)

    assert (report.status, report.reason) == (Completion.FAILED, CompletionReason.OUTPUTS), (
        made.text
    )
    assert said in (report.message or "")
    assert (made.outputs / "o/fine").read_text() == "1\n"
    assert len(made.result.unkept) == 1


async def test_nothing_is_written_through_a_link_of_the_inputs(run: Run, ground: Path) -> None:
    outside = ground / "outside"
    outside.mkdir(mode=0o777)
    made = await run(f"ln -s {outside} lnk", ["lnk"])
    after = await run("echo 1 > lnk/f || true; readlink lnk", ["lnk"], inputs=made.outputs)

    assert described(after.outputs) == {"lnk": f"-> {outside}"}
    shutil.rmtree(outside)
