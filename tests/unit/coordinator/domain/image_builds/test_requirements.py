"""What a Python program has installed: its requirements, or what it imports."""

from __future__ import annotations

from collections.abc import Mapping

from coordinator.domain.image_builds import Language
from tests.unit.coordinator.domain.image_builds.plans import AUTHORITIES, dockerfile, plan, refused


def requirements(files: Mapping[str, str], **request: str) -> str | None:
    return plan(files, **request).files.get("requirements.txt")


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
