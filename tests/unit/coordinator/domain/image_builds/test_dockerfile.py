"""The Dockerfile of a program that brings none: what it installs, copies and starts."""

from __future__ import annotations

import json
from collections.abc import Mapping

import pytest

from coordinator.domain.image_builds import Language, Mirrors
from tests.unit.coordinator.domain.image_builds.plans import (
    AUTHORITIES,
    MAIN_GO,
    dockerfile,
    plan,
    refused,
)

DOCUMENTED_AGENT = (
    "from openai import OpenAI\nimport requests\n\nclient = OpenAI()\n\ndef main():\n    pass\n\n"
    'if __name__ == "__main__":\n    main()\n'
)


def test_a_python_programs_dockerfile_has_the_documents_shape() -> None:
    text = dockerfile({"agent.py": DOCUMENTED_AGENT, "requirements.txt": "openai>=1.0\n"})
    assert [
        line
        for line in text.splitlines()
        if not line.startswith(("ENV", "USER", "RUN echo", "ARG"))
    ][:14] == [
        "FROM python:3.11-slim",
        "",
        "",
        "WORKDIR /app",
        "",
        "",
        "COPY requirements.txt .",
        f"RUN {AUTHORITIES}pip install --no-cache-dir -r requirements.txt",
        "",
        "COPY --chown=10001:10001 . .",
        "",
        "",
        "",
        "EXPOSE 8080",
    ]
    assert text.endswith('\nCMD ["python", "agent.py"]\n')
    assert "\nUSER 10001:10001\n" in text


def test_the_generated_files_are_no_part_of_the_image() -> None:
    files = plan({"agent.py": "1"}).files
    assert {"Dockerfile", ".dockerignore"} <= set(files[".dockerignore"].split())
    kept = plan({"agent.py": "1", ".dockerignore": "secret\n"}).files
    assert kept[".dockerignore"] == "secret\n"


def test_nothing_is_installed_for_a_program_that_needs_nothing() -> None:
    assert "pip" not in dockerfile({"agent.py": "import os\n"})


def test_a_mirror_is_an_argument_of_the_build_and_not_of_the_image() -> None:
    mirrors = Mirrors(
        pip_index_url="http://pip.example/simple",
        npm_registry="http://npm.example/",
        go_proxy="http://go.example",
    )
    python = plan({"a.py": "import x"}, mirrors=mirrors).files["Dockerfile"]
    trusted = "ARG PIP_TRUSTED_HOST=pip.example"
    assert f"\nARG PIP_INDEX_URL=http://pip.example/simple\n{trusted}\n" in python
    node = plan({"index.js": "", "package.json": "{}"}, mirrors=mirrors).files["Dockerfile"]
    assert "\nARG NPM_CONFIG_REGISTRY=http://npm.example/\n" in node
    go = plan({"main.go": MAIN_GO}, mirrors=mirrors).files["Dockerfile"]
    assert "\nARG GOPROXY=http://go.example\n" in go


def test_node_installs_before_the_sources_are_copied_and_starts_what_it_should() -> None:
    manifest = '{"main": "lib/start.js", "scripts": {"start": "node lib/start.js"}}'
    files = {"package.json": manifest, "package-lock.json": "{}", "lib/start.js": ""}
    text = dockerfile(files)
    assert text.index("npm ci --no-audit --no-fund --omit=dev") < text.index("COPY --chown")
    assert text.endswith('CMD ["npm", "start"]\n')
    assert dockerfile(files, entry_point="lib/start.js").endswith('CMD ["node", "lib/start.js"]\n')
    alone = dockerfile({"server.js": "", "other.js": ""})
    assert alone.endswith('CMD ["node", "server.js"]\n')
    assert "npm" not in alone
    by_main = dockerfile({"package.json": '{"main": "./lib/start.js"}', "lib/start.js": ""})
    assert by_main.endswith('CMD ["node", "lib/start.js"]\n')


def test_a_node_program_with_a_build_script_is_built_with_its_tools_and_left_without() -> None:
    text = dockerfile(
        {"package.json": '{"scripts": {"build": "tsc", "start": "node out/x.js"}}', "src/x.ts": ""}
    )
    assert text.index(f"RUN {AUTHORITIES}npm install") < text.index("RUN npm run build")
    assert text.index("RUN npm run build") < text.index("RUN npm prune --omit=dev")


def test_go_is_compiled_in_one_stage_and_runs_in_another() -> None:
    files = {"go.mod": "module x\n", "go.sum": "", "cmd/bot/main.go": MAIN_GO}
    text = dockerfile(files)
    assert text.index(f"RUN {AUTHORITIES}go mod download") < text.index("COPY . .")
    assert f'RUN {AUTHORITIES}["go", "build", "-trimpath", "-o", "/out/agent", "./cmd/bot"]' in text
    assert [line for line in text.splitlines() if line.startswith("FROM")] == [
        "FROM golang:1.25 AS build",
        "FROM gcr.example/static",
    ]
    assert "tidy" not in text


def test_a_lone_go_file_gets_a_module_and_what_it_imports() -> None:
    foreign = 'package main\n\nimport (\n\t"fmt"\n\tx "example.org/x"\n)\n\nfunc main() {\n}\n'
    built = plan({"main.go": foreign})
    assert built.files["go.mod"].startswith("module agent\n")
    assert f"RUN {AUTHORITIES}go mod tidy" in built.files["Dockerfile"]
    own = foreign.replace('x "example.org/x"', '"net/http"')
    assert "tidy" not in dockerfile({"main.go": own})


def test_pages_are_served_as_they_are() -> None:
    built = plan({"index.html": "<p>hello", "style.css": ""})
    assert (built.language, built.entry_point) == (Language.STATIC, None)
    assert '"busybox", "httpd", "-f", "-v", "-p", "8080"' in built.files["Dockerfile"]
    shown = plan({"welcome.html": "<p>hello"}, entry_point="welcome.html")
    assert shown.files["index.html"] == "<p>hello"


def test_a_page_in_a_folder_is_served_with_its_folder_alone() -> None:
    text = dockerfile({"public/index.html": "<p>", "notes.txt": "not for all"})
    assert text.splitlines()[-1].endswith('"-h", "/app/public"]')
    shown = plan({"site/home.html": "<p>home"}, entry_point="site/home.html")
    assert shown.files["site/index.html"] == "<p>home"
    assert "any of these may start" in refused({"a/index.html": "", "b/index.html": ""})


def test_what_begins_with_a_dot_is_never_served() -> None:
    mine = {"index.html": "", ".env": "TOKEN=x", ".dockerignore": "node_modules\n!.env"}
    assert plan(mine).files[".dockerignore"].splitlines() == [
        "node_modules", "!.env", "Dockerfile", ".dockerignore", "**/.*"
    ]  # fmt: skip
    hidden = {".site/index.html": "", "a.txt": ""}
    assert "no program was found" in refused(hidden)
    assert "such files are not served" in refused(hidden, entry_point=".site/index.html")


def test_a_script_is_started_by_its_first_line_or_by_bash() -> None:
    text = dockerfile({"run.sh": "#!/bin/bash -eu\n"})
    assert text.startswith("FROM debian:12-slim\n")
    assert text.endswith('CMD ["./run.sh"]\n')
    assert "\nUSER 10001:10001\n" in text
    assert dockerfile({"run.sh": "echo"}).endswith('CMD ["bash", "run.sh"]\n')
    python = plan({"start": "#!/usr/bin/python3\nimport yaml\n"}).files
    assert python["requirements.txt"] == "pyyaml\n"
    assert python["Dockerfile"].endswith('CMD ["python", "start"]\n')
    assert "shell scripts" in refused({"run.sh": "#!/bin/zsh\n"}, entry_point="run.sh")


@pytest.mark.parametrize(
    ("files", "command", "path"),
    [
        ({"src/main.py": "import tools"}, ["python", "src/main.py"], "/app"),
        ({"src/app/main.py": ""}, ["python", "src/app/main.py"], "/app/src:/app"),
        ({"pkg/__main__.py": "from pkg import x"}, ["python", "-m", "pkg"], "/app"),
        ({"src/pkg/__main__.py": "from . import x"}, ["python", "-m", "pkg"], "/app/src:/app"),
        (
            {"pkg/__main__.py": "import near", "pkg/near.py": ""},
            ["python", "pkg/__main__.py"],
            "/app",
        ),
        (
            {
                "pkg/__init__.py": "",
                "pkg/sub/__init__.py": "",
                "pkg/sub/main.py": "from . import x",
            },
            ["python", "-m", "pkg.sub.main"],
            "/app/pkg:/app",
        ),
        (
            {"my app/main.py": "from . import x"},
            ["python", "my app/main.py"],
            "/app",
        ),
        (
            {
                "requirements.txt": "fastapi\nuvicorn",
                "app/__init__.py": "",
                "app/main.py": "import fastapi\nfrom .x import r\napp = fastapi.FastAPI()",
            },
            ["uvicorn", "--app-dir=.", "app.main:app", "--host=0.0.0.0", "--port=8080"],
            "/app",
        ),
    ],
)
def test_a_program_in_a_folder_finds_its_own_modules(
    files: Mapping[str, str], command: list[str], path: str
) -> None:
    text = dockerfile(files)
    assert text.splitlines()[-1] == "CMD " + json.dumps(command)
    assert f" PYTHONPATH={path} " in text


def test_a_program_at_the_top_needs_no_path_of_modules() -> None:
    assert "PYTHONPATH" not in dockerfile({"main.py": "from lib import x", "lib/x.py": ""})


def test_a_dockerfile_is_found_in_any_case() -> None:
    built = plan({"dockerfile": "FROM scratch\n"})
    assert built.files["Dockerfile"] == "FROM scratch\n"
    both = plan({"dockerfile": "FROM a\n", "Dockerfile": "FROM b\n"})
    assert both.files["Dockerfile"] == "FROM b\n"


def test_a_dockerfile_of_the_programs_own_is_left_as_it_is() -> None:
    built = plan({"Dockerfile": "FROM scratch\n", "main.rb": ""}, entry_point="main.rb")
    assert built.language is Language.DOCKERFILE
    assert built.files == {"Dockerfile": "FROM scratch\n", "main.rb": ""}


@pytest.mark.parametrize("bait", ['a"; rm -rf $(x) `y`.py', "a b.py", "é.py", "${HOME}.py"])
def test_a_files_name_reaches_no_shell(bait: str) -> None:
    text = dockerfile({bait: "import requests"})
    command = text.splitlines()[-1]
    assert command.startswith("CMD [")
    assert bait not in text.replace(command, "")
