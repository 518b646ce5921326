"""Images from source files, and their deployments: real processes, engine, registry and pip."""

from __future__ import annotations

import asyncio
import json
import os
import re
import secrets
import shutil
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from agent.engines import private
from agent.engines.buildkit.engine import BuildKitEngine
from agent.engines.protocol import ImageRequest
from pipelines_schema.contract_images import ImageBuildSpec
from tests.conftest import TestEngine
from tests.e2e.processes import Pushrod, running
from tests.integration.buildkit.conftest import FolderSource, Log
from tests.integration.buildkit.registries import OWN, entering, in_engine_network, own_registry

pytestmark = [pytest.mark.engine, pytest.mark.timeout(600)]

DOCUMENTED_CURL = r"""
curl -X POST https://api.runagents.io/api/builds \
  -H "Authorization: Bearer $RUNAGENTS_API_KEY" \
  -H "Content-Type: application/json" \
  -d '{
    "name": "my-agent",
    "files": {
      "agent.py": "from openai import OpenAI\nimport requests\n\nclient = OpenAI()\n\ndef main():\n    response = client.chat.completions.create(\n        model=\"gpt-4o-mini\",\n        messages=[{\"role\": \"user\", \"content\": \"Hello\"}]\n    )\n    print(response.choices[0].message.content)\n\nif __name__ == \"__main__\":\n    main()\n",
      "requirements.txt": "openai>=1.0\nrequests"
    },
    "entry_point": "agent.py"
  }'
"""  # noqa: E501 - the document's own line
DOCUMENTED_PYTHON = """
import requests
import time

# Start the build
resp = requests.post(
    "https://api.runagents.io/api/builds",
    headers={"Authorization": f"Bearer {api_key}"},
    json={
        "name": "my-agent",
        "files": {
            "agent.py": open("agent.py").read(),
            "requirements.txt": open("requirements.txt").read(),
        },
        "entry_point": "agent.py",
    },
)
build = resp.json()
build_id = build["id"]
print(f"Build started: {build_id}")
print(f"Image will be: {build['image']}")

# Poll for completion
while True:
    status = requests.get(
        f"https://api.runagents.io/api/builds/{build_id}",
        headers={"Authorization": f"Bearer {api_key}"},
    ).json()

    print(f"Status: {status['status']}")
    if status["status"] in ("SUCCEEDED", "FAILED"):
        break
    time.sleep(5)
"""
DOCUMENTED_STATUS = """
curl https://api.runagents.io/api/builds/build-a1b2c3d4 \
  -H "Authorization: Bearer $RUNAGENTS_API_KEY"
"""
DOCUMENTED_DEPLOY = r"""
# This automatically triggers a build + deploy
curl -X POST https://api.runagents.io/api/deploy \
  -H "Authorization: Bearer $RUNAGENTS_API_KEY" \
  -H "Content-Type: application/json" \
  -d '{
    "agent_name": "my-agent",
    "source_files": {
      "agent.py": "...",
      "requirements.txt": "openai>=1.0"
    },
    "entry_point": "agent.py",
    "llm_configs": [{"provider": "openai", "model": "gpt-4o-mini"}]
  }'
"""
HOST = "https://api.runagents.io"
PACKAGES = {"openai": "1.99.0", "requests": "2.99.0", "pyyaml": "6.99.0"}
MODULES = {"pyyaml": "yaml"}


# What builds are made from


def write_wheel(folder: Path, name: str, version: str) -> None:
    """A package whose module says that it is ours."""
    module, info = MODULES.get(name, name), f"{name}-{version}.dist-info"
    files = {
        f"{module}.py": f"VERSION = {version!r}\n",
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    files[f"{info}/RECORD"] = "".join(f"{one},,\n" for one in [*files, f"{info}/RECORD"])
    (folder / name).mkdir(parents=True)
    with zipfile.ZipFile(folder / name / f"{name}-{version}-py3-none-any.whl", "w") as wheel:
        for path, text in files.items():
            wheel.writestr(path, text)


@pytest.fixture(scope="module")
def package_index(buildkit: TestEngine, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A package index on the engine's own network, as a site's mirror would be."""
    folder = tmp_path_factory.mktemp("index")
    for name, version in PACKAGES.items():
        write_wheel(folder / "simple", name, version)
    record = private.engine_places().record
    shown = in_engine_network(record, ["ip", "-4", "-o", "addr", "show", "docker0"])
    found = re.search(r"inet ([0-9.]+)/", shown)
    assert found is not None, shown
    port = str(20_000 + secrets.randbelow(20_000))
    serve = [sys.executable, "-u", "-m", "http.server", port, "--directory", str(folder)]
    with subprocess.Popen(
        [*entering(record), *serve], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as server:
        assert server.stdout is not None
        assert "Serving" in server.stdout.readline()
        yield f"http://{found[1]}:{port}/simple"
        server.kill()


DEBIANS_PYTHON = "RUN ln -sf python3 /usr/bin/python\nENV PIP_BREAK_SYSTEM_PACKAGES=1"
DEBIANS_COMPILERS = (
    "RUN apt-get -qq update && apt-get -qq install --yes --no-install-recommends"
    " nodejs npm golang-go >/dev/null"
)


async def make_base(address: str, folder: Path, lines: str) -> str:
    """What the languages' official images are where there is no public registry: Debian's."""
    reference = f"{OWN}/default/base:{secrets.token_hex(4)}"
    base = await private.ensure_base_image(print)
    (folder / "Dockerfile").write_text(f"FROM {base}\n{lines}\n")
    engine = BuildKitEngine(address, data_dir=folder / "data")
    log = Log()
    request = ImageRequest(
        attempt_id=secrets.token_hex(8),
        step_name="base",
        build=ImageBuildSpec(tags=[reference], push=True),
        timeout_seconds=500,
        source=FolderSource(folder=folder, key=folder.name),
    )
    result = await engine.build_image(request, log)
    await engine.close()
    assert result.exit_code == 0, (result.message, log.stdout)
    return reference


@pytest.fixture(scope="module")
def python_base(buildkit: TestEngine, tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("python")
    return asyncio.run(make_base(buildkit.address, folder, DEBIANS_PYTHON))


@pytest.fixture(scope="module")
def compilers_base(buildkit: TestEngine, tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("compilers")
    return asyncio.run(make_base(buildkit.address, folder, DEBIANS_COMPILERS))


@pytest.fixture(scope="module")
def pushrod(
    buildkit: TestEngine,
    python_base: str,
    compilers_base: str,
    package_index: str,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Pushrod]:
    settings = {
        "image_registry": f"{OWN}/e2e-{secrets.token_hex(4)}",
        "image_base_python": python_base,
        "image_base_node": compilers_base,
        "image_base_go": compilers_base,
        "image_base_go_run": buildkit.image,
        "image_base_shell": buildkit.image,
        "image_base_static": buildkit.image,
        "image_pip_index_url": package_index,
    }
    text = "".join(f"{name} = {json.dumps(value)}\n" for name, value in settings.items())
    folder = tmp_path_factory.mktemp("pushrod")
    with running(folder, buildkit.address, agents=0, settings=text) as pushrod:
        pushrod.start_agent("builder", labels=("deploy=true",), slots=6)
        yield pushrod


# What is done with them


def wait_for(look: Callable[[], dict[str, Any]], *words: str, seconds: float = 180) -> Any:
    """What `look` shows once its status is one of the words."""
    deadline = time.monotonic() + seconds
    while (shown := look())["status"] not in words:
        assert time.monotonic() < deadline, shown
        time.sleep(0.1)
    return shown


def built(pushrod: Pushrod, body: dict[str, Any]) -> dict[str, Any]:
    build = pushrod.api.post("/api/builds", body)
    path = f"/api/builds/{build['id']}"
    ended = dict(wait_for(lambda: pushrod.api.get(path), "SUCCEEDED", "FAILED"))
    assert ended["image"] == build["image"]
    return ended


def log_of(pushrod: Pushrod, build: dict[str, Any], step: str = "image") -> str:
    core = pushrod.api.build(build["build_url"].rpartition("/")[2])
    [found] = [one for one in core["steps"] if one["name"] == step]
    return pushrod.api.log(found["id"]).decode()


def shell(pushrod: Pushrod, example: str, folder: Path, **replaced: str) -> Any:
    for old, new in {HOST: pushrod.api.url, **replaced}.items():
        example = example.replace(old, new)
    done = subprocess.run(
        ["bash", "-c", example],
        cwd=folder,
        env={"PATH": os.environ["PATH"], "RUNAGENTS_API_KEY": pushrod.api.token},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


# The document's examples


def test_the_documents_curl_examples_build_and_deploy(pushrod: Pushrod, tmp_path: Path) -> None:
    assert shutil.which("curl")
    build = shell(pushrod, DOCUMENTED_CURL, tmp_path)
    assert build["status"] == "PENDING"
    look = {"build-a1b2c3d4": build["id"]}
    ended = wait_for(
        lambda: shell(pushrod, DOCUMENTED_STATUS, tmp_path, **look), "SUCCEEDED", "FAILED"
    )
    assert ended["status"] == "SUCCEEDED", ended
    assert own_registry(private.engine_places().record).digest(build["image"]) == ended["digest"]

    deployment = shell(pushrod, DOCUMENTED_DEPLOY, tmp_path)
    of_build = pushrod.api.get(f"/api/builds/{deployment['build_id']}")
    assert of_build["image"] == deployment["image"]
    path = f"/api/deploy/{deployment['id']}"
    over = wait_for(lambda: pushrod.api.get(path), "COMPLETED", "FAILED")
    assert over["status"] == "COMPLETED", over  # `...` is a whole Python program


def test_the_documents_python_example_follows_a_build_to_its_end(
    pushrod: Pushrod, tmp_path: Path
) -> None:
    (tmp_path / "agent.py").write_text("import openai\nprint(openai.VERSION)\n")
    (tmp_path / "requirements.txt").write_text("openai>=1.0\n")
    (tmp_path / "example.py").write_text(
        f"api_key = {pushrod.api.token!r}\n{DOCUMENTED_PYTHON.replace(HOST, pushrod.api.url)}"
    )
    done = subprocess.run(
        [sys.executable, "example.py"], cwd=tmp_path, capture_output=True, text=True, timeout=240
    )
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert re.fullmatch(r"Build started: build-[0-9a-f]+", lines[0])
    assert re.fullmatch(rf"Image will be: {OWN}/\S+/my-agent:[0-9a-f]+", lines[1])
    assert lines[-1] == "Status: SUCCEEDED"


# Builds


def test_a_program_without_requirements_gets_what_it_imports_and_runs_unprivileged(
    pushrod: Pushrod,
) -> None:
    source = (
        "import os, sys\nimport yaml, tools\n"
        "print(yaml.VERSION, tools.WORD, os.getuid(), os.getcwd(), sys.argv)\n"
        "open('written', 'w').close()\n"
    )
    files = {"agent.py": source, "tools.py": "WORD = 'own'\n"}
    text = run_to_its_end(pushrod, "Imports", files)
    assert text == "6.99.0 own 10001 /app ['agent.py']\n"


def test_a_second_build_of_the_same_files_is_all_cached(pushrod: Pushrod) -> None:
    body = {"name": "cached", "files": {"agent.py": f"# {secrets.token_hex(8)}\nimport yaml\n"}}
    first, second = built(pushrod, body), built(pushrod, body)
    assert (first["status"], second["status"]) == ("SUCCEEDED", "SUCCEEDED")
    assert second["image"] == first["image"]
    assert second["digest"] == first["digest"]
    assert second["id"] != first["id"]
    assert "pip install --no-cache-dir -r requirements.txt: CACHED" in log_of(pushrod, second)


def test_a_change_of_sources_keeps_the_dependencies_layer(pushrod: Pushrod) -> None:
    files = {"agent.py": "import yaml\n", "requirements.txt": f"pyyaml\n# {secrets.token_hex(8)}"}
    built(pushrod, {"name": "layers", "files": files})
    changed = built(pushrod, {"name": "layers", "files": {**files, "agent.py": "import os\n"}})
    assert "pip install --no-cache-dir -r requirements.txt: CACHED" in log_of(pushrod, changed)


def test_a_failed_install_is_told_in_the_documents_words(pushrod: Pushrod) -> None:
    files = {"agent.py": "", "requirements.txt": "nonexistent-package\n"}
    ended = built(pushrod, {"name": "failing", "files": files})
    assert (ended["status"], ended["error"]) == (
        "FAILED",
        "pip install failed: no matching distribution found for nonexistent-package",
    )
    assert ended["completed_at"]


def run_to_its_end(pushrod: Pushrod, name: str, files: dict[str, str]) -> str:
    """What a program of these files writes."""
    body = {"agent_name": name, "source_files": files}
    deployment = pushrod.api.post("/api/deploy", body)
    path = f"/api/deploy/{deployment['id']}"
    over = wait_for(lambda: pushrod.api.get(path), "COMPLETED", "FAILED")
    assert over["status"] == "COMPLETED", over.get("error", over)
    return log_of(pushrod, deployment, "program")


def test_a_program_in_a_folder_runs_with_the_modules_beside_and_above_it(pushrod: Pushrod) -> None:
    main = (
        "import os\nimport beside\nfrom lib import above\nprint(beside.X, above.X, os.getcwd())\n"
    )
    files = {"src/main.py": main, "src/beside.py": "X = 1\n", "lib/above.py": "X = 2\n"}
    assert run_to_its_end(pushrod, "folder", files) == "1 2 /app\n"


def test_a_package_runs_as_a_module_and_a_script_by_its_first_line(pushrod: Pushrod) -> None:
    files = {"src/pkg/__main__.py": "from . import x\nprint(x.X)\n", "src/pkg/x.py": "X = 3\n"}
    assert run_to_its_end(pushrod, "package", files) == "3\n"
    script = {"bin/run.sh": "#!/bin/bash -e\necho $- ${BASH_VERSION:+bash} $(id -u)\n"}
    flags, shell, user = run_to_its_end(pushrod, "script", script).split()
    assert ("e" in flags, shell, user) == (True, "bash", "10001")


def test_a_node_program_is_built_and_runs_unprivileged(pushrod: Pushrod) -> None:
    script = "console.log(require('./word'), process.getuid(), process.env.NODE_ENV)\n"
    files = {"index.js": script, "word.js": "module.exports = 'node'\n"}
    assert run_to_its_end(pushrod, "node", files) == "node 10001 production\n"


def test_a_node_program_with_a_manifest_is_installed_built_and_started_by_npm(
    pushrod: Pushrod,
) -> None:
    scripts = {"build": "node build.js", "start": "node made.js"}
    files = {
        "package.json": json.dumps({"name": "x", "version": "1.0.0", "scripts": scripts}),
        "build.js": "require('fs').writeFileSync('made.js', 'console.log(\"made\")')\n",
    }
    assert run_to_its_end(pushrod, "npm", files).splitlines()[-1] == "made"


def test_a_go_program_is_compiled_and_runs_in_a_small_image(pushrod: Pushrod) -> None:
    source = (
        'package main\n\nimport (\n\t"fmt"\n\t"os"\n)\n\nfunc main() {\n'
        '\ttext, _ := os.ReadFile("word.txt")\n\tfmt.Println(string(text), os.Getuid())\n}\n'
    )
    files = {"cmd/bot/main.go": source, "word.txt": "go"}
    assert run_to_its_end(pushrod, "go", files) == "go 10001\n"


def test_a_go_program_that_does_not_compile_says_where(pushrod: Pushrod) -> None:
    source = "package main\n\nfunc main() {\n\tundefinedThing()\n}\n"
    ended = built(pushrod, {"name": "broken-go", "files": {"main.go": source}})
    assert (ended["status"], ended["error"]) == (
        "FAILED",
        "go build failed: main.go:4:2: undefined: undefinedThing",
    )


def test_static_files_are_served_and_a_dockerfile_of_ones_own_is_built(pushrod: Pushrod) -> None:
    pages = {"index.html": "<p>hello", ".env": "TOKEN=x", "css/a.css": "", "css/.old/b.css": ""}
    ended = built(pushrod, {"name": "pages", "files": {**pages, ".dockerignore": "!.env\n"}})
    assert ended["status"] == "SUCCEEDED", ended
    look = f'FROM {ended["image"]}\nCMD ["find", "/app", "-type", "f"]\n'
    inside = run_to_its_end(pushrod, "look", {"dockerfile": look}).split()
    assert sorted(inside) == ["/app/css/a.css", "/app/index.html"]
    own = {"Dockerfile": "FROM 127.0.0.1:5000/default/none:1\n"}
    failed = built(pushrod, {"name": "own", "files": own})
    assert failed["status"] == "FAILED"
    assert "127.0.0.1:5000/default/none:1" in failed["error"]


# Deployments


SERVER = """
import os, time
print("up", os.environ["LLM_CONFIGS"], os.environ.get("API_KEY"), flush=True)
while True:
    time.sleep(0.2)
"""


def deploy(pushrod: Pushrod, name: str, source: str) -> tuple[dict[str, Any], str]:
    body = {
        "agent_name": name,
        "source_files": {"agent.py": source},
        "llm_configs": [{"provider": "openai", "model": "gpt-4o-mini"}],
    }
    deployment = pushrod.api.post("/api/deploy", body)
    return deployment, f"/api/deploy/{deployment['id']}"


def test_a_deployment_runs_until_a_newer_one_runs_and_that_until_it_is_stopped(
    pushrod: Pushrod,
) -> None:
    _, old_path = deploy(pushrod, "server", SERVER)
    wait_for(lambda: pushrod.api.get(old_path), "RUNNING")
    step_id = pushrod.api.get(old_path)["log_url"].split("/")[-2]
    pushrod.api.wait_for_log(step_id, b'up [{"provider": "openai", "model": "gpt-4o-mini"}] None')

    command = pushrod.command("secret", "set", "default/server", "API_KEY", given="sesame")
    assert command.returncode == 0, command.stderr
    new, new_path = deploy(pushrod, "server", SERVER + "# newer\n")
    stopped = wait_for(lambda: pushrod.api.get(old_path), "STOPPED")
    assert stopped["replaced_by"] == new["id"]
    assert pushrod.api.get(new_path)["status"] == "RUNNING"
    step_id = pushrod.api.get(new_path)["log_url"].split("/")[-2]
    # It has the secret; the log does not.
    pushrod.api.wait_for_log(step_id, b"up [")
    assert b"sesame" not in pushrod.api.request("GET", f"/api/steps/{step_id}/log")[1]

    status, _, _ = pushrod.api.request("POST", f"{new_path}/stop")
    assert status == 200
    wait_for(lambda: pushrod.api.get(new_path), "STOPPED", seconds=20)


def test_a_deployment_outlives_its_agent(pushrod: Pushrod) -> None:
    deployment, path = deploy(pushrod, "survivor", SERVER + "# survivor\n")
    wait_for(lambda: pushrod.api.get(path), "RUNNING")
    pushrod.agents["builder"].kill()
    pushrod.start_agent("builder", labels=("deploy=true",), slots=6)
    core_id = deployment["build_url"].rpartition("/")[2]

    def tried_again(build: dict[str, Any]) -> bool:
        [program] = [one for one in build["steps"] if one["name"] == "program"]
        return bool(program["attempt"] == 2 and program["status"] == "RUNNING")

    pushrod.api.wait(core_id, tried_again, 60)
    assert pushrod.api.get(path)["status"] == "RUNNING"
    pushrod.api.request("POST", f"{path}/stop")
    wait_for(lambda: pushrod.api.get(path), "STOPPED", seconds=20)


def test_an_agent_that_is_told_to_end_gives_its_deployments_to_another(pushrod: Pushrod) -> None:
    pushrod.start_agent("leaving", labels=("deploy=true",), slots=6)
    pushrod.agents.pop("builder").kill()
    deployment, path = deploy(pushrod, "moving", SERVER + "# moving\n")
    wait_for(lambda: pushrod.api.get(path), "RUNNING")
    pushrod.start_agent("builder", labels=("deploy=true",), slots=6)
    assert pushrod.agents.pop("leaving").stop(30) == 0
    core_id = deployment["build_url"].rpartition("/")[2]
    pushrod.api.wait(
        core_id,
        lambda build: any(
            one["name"] == "program" and one["attempt"] == 2 and one["status"] == "RUNNING"
            for one in build["steps"]
        ),
        60,
    )
    pushrod.api.request("POST", f"{path}/stop")
    wait_for(lambda: pushrod.api.get(path), "STOPPED", seconds=20)
