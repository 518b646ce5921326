"""From a request's files to the commit, the name and the tag of its image."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coordinator.domain.image_builds import (
    Bases,
    ImagePlan,
    ImageRequest,
    Language,
    Mirrors,
    RefusedSources,
    plan_image,
)
from coordinator.domain.image_builds.image_name import image_name
from coordinator.domain.image_builds.source_files import MAX_FILES, plain_files

BASES = Bases(
    python="python:3.11-slim",
    node="node:24-slim",
    go="golang:1.25",
    go_run="gcr.example/static",
    shell="debian:12-slim",
    static="busybox:1.37",
)
DOCUMENTED_AGENT = (
    "from openai import OpenAI\nimport requests\n\nclient = OpenAI()\n\ndef main():\n    pass\n\n"
    'if __name__ == "__main__":\n    main()\n'
)
MAIN_GO = "package main\n\nfunc main() {\n}\n"


AUTHORITIES = "--mount=type=secret,id=PUSHROD_CA_FILE "


def plan(
    files: Mapping[str, str],
    *,
    account: str = "default",
    bases: Bases = BASES,
    mirrors: Mirrors | None = None,
    name: str = "my-agent",
    **request: str,
) -> ImagePlan:
    return plan_image(
        ImageRequest(name=name, files=files, **request),
        account=account,
        bases=bases,
        mirrors=mirrors or Mirrors(),
    )


def refused(files: Mapping[str, str], **request: str) -> str:
    with pytest.raises(RefusedSources) as refusal:
        plan(files, **request)
    return str(refusal.value)


def dockerfile(files: Mapping[str, str], **request: str) -> str:
    return plan(files, **request).files["Dockerfile"]


def requirements(files: Mapping[str, str], **request: str) -> str | None:
    return plan(files, **request).files.get("requirements.txt")


# The Dockerfile


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


@pytest.mark.parametrize(
    ("files", "looks_like"),
    [
        ({"Cargo.toml": "", "src/main.rs": ""}, "Rust"),
        ({"Cargo.toml": "", "src/main.rs": "", "tools/gen.py": ""}, "Rust"),
        ({"Main.java": "", "index.html": ""}, "Java"),
        ({"app.rb": ""}, "Ruby"),
        ({"app.rb": "", "index.html": ""}, "Ruby"),
        ({"agent.ipynb": "{}"}, "a Jupyter notebook"),
        ({"README.md": "# hello"}, None),
        ({"page.html": ""}, None),
        ({"tool": "#!/usr/bin/perl\n"}, None),
        ({".env": "X=1", ".hidden/main.py": ""}, None),
    ],
)
def test_what_is_not_built_is_refused_with_what_is_and_what_to_write(
    files: Mapping[str, str], looks_like: str | None
) -> None:
    with pytest.raises(RefusedSources) as refusal:
        plan(files)
    [one] = refusal.value.refusals
    assert one.field == "files"
    for words in ("Python (.py)", "Node (.js", "Go (.go)", "shell scripts", "index.html"):
        assert words in one.message
    assert "name by entry_point" in one.message
    assert "add a Dockerfile" in one.message
    assert (f"(they look like {looks_like}" in one.message) is (looks_like is not None)


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


def test_a_name_that_begins_with_this_folder_is_the_name_without_it() -> None:
    built = plan({"./agent.py": "", "././lib/x.py": ""}, entry_point="./agent.py")
    assert {"agent.py", "lib/x.py"} <= built.files.keys()
    assert built.tag == plan({"agent.py": "", "lib/x.py": ""}, entry_point="agent.py").tag
    assert "a.py is there too: send one of them" in refused({"a.py": "1", "./a.py": "2"})


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


# Language, entry point, framework


@pytest.mark.parametrize(
    ("files", "language", "entry_point"),
    [
        ({"agent.py": "", "tools.py": ""}, Language.PYTHON, "agent.py"),
        ({"odd.py": ""}, Language.PYTHON, "odd.py"),
        ({"a.py": "", "b.py": "if __name__ == '__main__': f()"}, Language.PYTHON, "b.py"),
        (
            {"pkg/a.py": "", "pkg/__main__.py": "if __name__ == '__main__': 1"},
            Language.PYTHON,
            "pkg/__main__.py",
        ),
        ({"agent.py": "", "static/page.js": ""}, Language.PYTHON, "agent.py"),
        ({"agent.py": "", "page.js": "", "requirements.txt": ""}, Language.PYTHON, "agent.py"),
        ({"index.mjs": "", "vite.config.js": ""}, Language.NODE, "index.mjs"),
        ({"package.json": "{}", "src/index.ts": ""}, Language.NODE, "src/index.ts"),
        ({"package.json": "{}", "index.js": "", "pyproject.toml": ""}, Language.NODE, "index.js"),
        ({"main.go": MAIN_GO, "lib/x.go": "package lib"}, Language.GO, "main.go"),
        ({"index.html": "", "style.css": ""}, Language.STATIC, None),
        (
            {"public/index.html": '<script src="app.js">', "public/app.js": ""},
            Language.STATIC,
            None,
        ),
        ({"index.html": "<script src='/main.js'></script>", "main.js": ""}, Language.STATIC, None),
        ({"index.html": "", "tools/gen.py": "", "deploy.sh": "#!/bin/sh"}, Language.STATIC, None),
        ({"index.html": "<script src=a.js>", "a.js": "", "b.js": ""}, Language.STATIC, None),
        (
            {"index.html": "<script src=a.js>", "a.js": "", "server.js": ""},
            Language.NODE,
            "server.js",
        ),
        ({"index.html": "", "server.js": ""}, Language.NODE, "server.js"),
        ({"src/main.py": "", ".env": "TOKEN=x"}, Language.PYTHON, "src/main.py"),
        ({"src/main.py": "", "requirements.txt": ""}, Language.PYTHON, "src/main.py"),
        ({"src/main.py": "", "config.py": ""}, Language.PYTHON, "src/main.py"),
        ({"deep/er/odd.py": ""}, Language.PYTHON, "deep/er/odd.py"),
        ({"pkg/__main__.py": "", "pkg/main.py": ""}, Language.PYTHON, "pkg/__main__.py"),
        ({"bot/app.js": ""}, Language.NODE, "bot/app.js"),
        ({"start": "#!/usr/bin/env python3\n"}, Language.PYTHON, "start"),
        ({"bin/tool": "#!/usr/bin/env -S node --enable-source-maps\n"}, Language.NODE, "bin/tool"),
        ({"run.sh": "#!/bin/bash -eu\n", "lib/x.py": ""}, Language.SHELL, "run.sh"),
        ({"main.py": "", "run.sh": "#!/bin/sh\n"}, Language.PYTHON, "main.py"),
        ({"dockerfile": "FROM scratch\n"}, Language.DOCKERFILE, None),
    ],
)
def test_language_and_entry_point_are_detected(
    files: Mapping[str, str], language: Language, entry_point: str | None
) -> None:
    built = plan(files)
    assert (built.language, built.entry_point) == (language, entry_point)


def test_the_entry_point_decides_between_languages() -> None:
    files = {"agent.py": "", "index.js": ""}
    assert "a python and a node program at once" in refused(files)
    assert plan(files, entry_point="./index.js").language is Language.NODE
    assert plan(files, entry_point="agent.py").language is Language.PYTHON


def test_an_entry_point_that_cant_be_told_or_started_is_refused_with_what_to_write() -> None:
    assert "a.py, b.py; say by entry_point which one" in refused({"a.py": "", "b.py": ""})
    assert "'x.py' is not among the files (a.py)" in refused({"a.py": ""}, entry_point="x.py")
    assert "add a Dockerfile of your own" in refused({"a.rb": ""}, entry_point="a.rb")


@pytest.mark.parametrize(
    ("source", "hint", "framework"),
    [
        ("import langchain_openai\nfrom langchain.agents import x", None, "langchain"),
        ("from langgraph.graph import StateGraph\nimport langchain", None, "langgraph"),
        ("from openai import OpenAI", None, "openai"),
        ("import os", "LangChain", "langchain"),
        ("import os", "llamaindex", "llama-index"),
        ("import os", "our-own", "our-own"),
        ("import os", None, None),
    ],
)
def test_the_framework_is_the_hint_or_what_is_imported(
    source: str, hint: str | None, framework: str | None
) -> None:
    options = {"framework": hint} if hint else {}
    assert plan({"a.py": source}, **options).framework == framework


@pytest.mark.parametrize(
    ("source", "more", "command"),
    [
        ("from fastapi import FastAPI\napp = FastAPI()\n", {}, ["fastapi", "run", "main.py"]),
        (
            "import fastapi\napi = fastapi.FastAPI()\n",
            {"requirements.txt": "fastapi\nuvicorn\n"},
            ["uvicorn", "--app-dir=.", "main:api"],
        ),
        (
            "from flask import Flask\nweb = Flask(__name__)\n",
            {},
            ["flask", "--app=main:web", "run"],
        ),
        ("import streamlit as st\n", {}, ["streamlit", "run", "main.py"]),
        (
            "from flask import Flask\napp = Flask(__name__)\n"
            "if __name__ == '__main__': app.run()\n",
            {},
            ["python", "main.py"],
        ),
    ],
)
def test_a_web_application_is_started_by_its_server(
    source: str, more: Mapping[str, str], command: list[str]
) -> None:
    line = dockerfile({"main.py": source, **more}).splitlines()[-1]
    assert line.startswith("CMD " + str(command).replace("'", '"')[:-1])
    assert ("8080" in line) is (command[0] != "python")


# Requirements


def test_the_documents_table_is_what_imports_become() -> None:
    source = "import openai, requests, stripe, boto3, pandas, numpy, anthropic\n"
    source += "from langchain import x\nfrom fastapi import FastAPI\n"
    assert requirements({"agent.py": source}) == (
        "anthropic\nboto3\nfastapi[standard]\nlangchain\nnumpy\nopenai>=1.0\npandas\nrequests\n"
        "stripe\n"
    )


def test_the_programs_own_modules_and_tests_are_not_installed() -> None:
    files = {
        "agent.py": "import tools\nfrom lib.x import y\nimport yaml\n",
        "tools.py": "from . import z\nimport redis\n",
        "lib/x.py": "import os\n",
        "tests/test_agent.py": "import pytest\n",
    }
    assert requirements(files) == "pyyaml\nredis\n"


def test_given_requirements_come_first_then_the_file_then_pyproject_then_imports() -> None:
    project = '[project]\nname = "x"\ndependencies = ["httpx>=0.27", "rich"]\n'
    files = {"agent.py": "import yaml"}
    assert requirements(files) == "pyyaml\n"
    files["pyproject.toml"] = project
    assert requirements(files) == "httpx>=0.27\nrich\n"
    files["requirements.txt"] = "flask==3.0\n"
    assert requirements(files) == "flask==3.0\n"
    assert requirements(files, requirements="django") == "django\n"
    assert "requirements are for Python" in refused({"a.js": ""}, requirements="x")


def test_a_hint_adds_its_framework_to_what_is_detected_only() -> None:
    assert requirements({"a.py": "import yaml"}, framework="langchain") == "langchain\npyyaml\n"
    listed = {"a.py": "import yaml", "requirements.txt": "x\n"}
    assert requirements(listed, framework="langchain") == "x\n"


def test_files_that_the_requirements_include_are_copied_with_them() -> None:
    files = {"a.py": "", "requirements.txt": "-r more.txt\n", "more.txt": "-c pins.txt\nx\n"}
    files["pins.txt"] = "x==1\n"
    text = dockerfile(files)
    assert 'COPY ["requirements.txt", "more.txt", "pins.txt", "./"]' in text
    own = {"a.py": "", "requirements.txt": "-e ./lib\n", "lib/setup.py": ""}
    text = dockerfile(own)
    assert text.index("COPY --chown=10001:10001 . .") < text.index(f"RUN {AUTHORITIES}pip install")


def test_a_file_that_isnt_python_is_refused_only_where_its_imports_are_needed() -> None:
    broken = {"agent.py": "import os\n", "lib.py": "x = 1\ndef f(:\n"}
    assert refused(broken, entry_point="agent.py").startswith("lib.py:2:7: invalid syntax")
    broken["requirements.txt"] = "x\n"
    assert plan(broken, entry_point="agent.py").language is Language.PYTHON


def test_more_python_than_is_read_needs_its_requirements_listed() -> None:
    part = f"x = 1  # {'-' * 150_000}\n"
    files = {f"part{number}.py": part for number in range(4)} | {"agent.py": ""}
    assert "send requirements.txt" in refused(files)
    assert plan({**files, "requirements.txt": ""}).language is Language.PYTHON
    assert "more than 200000 characters" in refused({"agent.py": part * 2})


# Names of files


@pytest.mark.parametrize(
    "name",
    [
        "/etc/passwd", "../x.py", "a/../x.py", "./../x.py", "x/./y.py", "a//b.py", "a/", "",
        ".git/config", "sub/.GIT/hooks/x", ".git./x", "git~1/config", ".gitattributes",
        "sub/.gitmodules", "a\\b.py",
        "a\0b.py", "a\nb.py", "x" * 256, "/".join("a" * 40), "y/" * 600 + "z",
    ],
)  # fmt: skip
def test_a_name_that_could_harm_is_refused(name: str) -> None:
    with pytest.raises(RefusedSources) as refusal:
        plan({"agent.py": "", name: "x"})
    assert refusal.value.refusals[0].field.startswith("files.")


def test_files_and_folders_of_one_name_and_too_many_files_are_refused() -> None:
    assert "can't be a file and a folder at once" in refused({"a.py": "", "a.py/b.py": ""})
    assert "can't be a file and a folder at once" in refused({"a.py": "", "Dockerfile/x": ""})
    assert "the most is 1000" in refused({f"f{i}.py": "" for i in range(MAX_FILES + 1)})
    assert "files is empty" in refused({})


@given(st.dictionaries(st.text(max_size=12), st.text(max_size=80), max_size=5))
def test_any_files_make_a_plan_or_a_refusal(files: dict[str, str]) -> None:
    try:
        built = plan(files)
    except RefusedSources:
        return
    assert plain_files(files).items() <= built.files.items() or "requirements.txt" in built.files


@given(st.text(max_size=200))
def test_any_python_text_makes_a_plan_or_a_refusal(source: str) -> None:
    try:
        built = plan({"agent.py": source})
    except RefusedSources:
        return
    assert built.entry_point == "agent.py"


# Name and tag


def test_the_same_inputs_make_the_same_tag_and_any_other_makes_another() -> None:
    files = {"agent.py": "import yaml", "b.txt": "1"}
    first = plan(files)
    assert plan(dict(reversed(files.items()))).tag == first.tag
    others = [
        plan({**files, "b.txt": "2"}),
        plan({**files, "c.txt": ""}),
        plan(files, name="my_agent"),
        plan(files, account="other"),
        plan(files, requirements="yaml"),
        plan(
            files, bases=Bases(python="python:3.12", node="", go="", go_run="", shell="", static="")
        ),
        plan(files, mirrors=Mirrors(pip_index_url="http://pip.example")),
    ]
    assert len({first.tag, *(other.tag for other in others)}) == 8
    assert re.fullmatch("[0-9a-f]{16}", first.tag)


@pytest.mark.parametrize(
    ("agent", "image"),
    [
        ("my-agent", "my-agent"),
        ("My Agent!", "my-agent"),
        ("a..b__c", "a.b_c"),
        ("-x-", "x"),
        ("Größe/2", "groe-2"),
        ("a_._b", "a.b"),
        ("A - B", "a-b"),
    ],
)
def test_an_images_name_follows_the_registries_rules(agent: str, image: str) -> None:
    assert image_name(agent, field="name") == image


@given(st.text(max_size=150))
def test_any_name_is_made_to_fit_or_refused(agent: str) -> None:
    try:
        name = image_name(agent, field="name")
    except RefusedSources:
        return
    assert re.fullmatch(r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*", name)
    assert len(name) <= 100
