"""In which language a request's files are, where they start, and by which framework."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from coordinator.domain.image_builds import Language, RefusedSources
from tests.unit.coordinator.domain.image_builds.plans import MAIN_GO, dockerfile, plan, refused


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
