"""What is read out of Python sources."""

from __future__ import annotations

import pytest

from coordinator.domain.image_builds.packages import (
    DOCUMENTED,
    KNOWN,
    normalised,
    package_of,
    packages_of,
)
from coordinator.domain.image_builds.python_source import (
    imported_names,
    is_standard,
    is_test,
    local_modules,
    starts_itself,
)


def test_imports_are_found_wherever_they_stand() -> None:
    source = """
import openai, requests as r
from langchain.chains import LLMChain
def late():
    import pandas.core
class Holder:
    import numpy
async def later():
    async with x:
        from stripe import Charge
"""
    assert imported_names(source) == {
        "openai",
        "requests",
        "langchain.chains.LLMChain",
        "pandas.core",
        "numpy",
        "stripe.Charge",
    }


def test_relative_imports_are_the_programs_own() -> None:
    assert imported_names("from . import a\nfrom .b import c\nfrom ..d.e import f\n") == set()


@pytest.mark.parametrize(
    ("source", "names"),
    [
        ("try:\n import tomllib\nexcept ImportError:\n import tomli\n", {"tomllib"}),
        ("try:\n import ujson\nexcept (ImportError, OSError):\n import json\n", {"ujson"}),
        ("try:\n import yaml\nexcept:\n yaml = None\n", {"yaml"}),
        ("try:\n f()\nexcept ImportError:\n import rescue\n", {"rescue"}),
        ("try:\n import a\nexcept KeyError:\n import b\n", {"a", "b"}),
        ("try:\n import a\nexcept ImportError:\n import b\nelse:\n import c\n", {"a", "c"}),
        ("try:\n import a\nfinally:\n import d\n", {"a", "d"}),
        ("try:\n import msvcrt\nexcept ImportError:\n import getch\n", {"msvcrt", "getch"}),
        ("try:\n import a\nexcept* ValueError:\n import b\n", {"a", "b"}),
    ],
)
def test_the_first_choice_of_a_try_is_installed_and_its_fallback_is_not(
    source: str, names: set[str]
) -> None:
    assert imported_names(source) == names


@pytest.mark.parametrize(
    ("condition", "names"),
    [
        ("TYPE_CHECKING", {"b"}),
        ("typing.TYPE_CHECKING", {"b"}),
        ("sys.platform == 'win32'", {"b"}),
        ("sys.platform != 'win32'", {"a"}),
        ("sys.platform == 'linux'", {"a"}),
        ("os.name == 'nt'", {"b"}),
        ("platform.system() == 'Windows'", {"b"}),
        ("sys.version_info > (3, 9)", {"a", "b"}),
        ("unknown", {"a", "b"}),
    ],
)
def test_a_condition_that_can_be_worked_out_decides(condition: str, names: set[str]) -> None:
    assert imported_names(f"if {condition}:\n import a\nelse:\n import b\n") == names


def test_a_name_given_to_import_module_counts_where_it_stands_there() -> None:
    source = "importlib.import_module('boto3')\n__import__('redis')\nimport_module(name)\n"
    assert imported_names(source) == {"boto3", "redis"}


@pytest.mark.parametrize(
    "source",
    [
        "(" * 100_000,
        "-" * 100_000 + "1",
        "x" + ".a" * 200_000,
        "+".join(["1"] * 100_000),
        "f(" * 5_000 + ")" * 5_000,
        "[" * 90 + "]" * 90,
        "x = '\\d'\n",
        "a = b'\\xff\n",
        "import a\0b\n",
        "if x:\n" + "".join(" " * i + "if x:\n" for i in range(1, 99)) + " " * 99 + "pass",
    ],
)
def test_hostile_text_ends_in_an_error_of_its_own_or_not_at_all(source: str) -> None:
    try:
        imported_names(source)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return


def test_pythons_own_modules_are_not_installed() -> None:
    assert all(map(is_standard, ["os", "os.path", "tomllib", "msvcrt", "__future__", "asyncio"]))
    assert not any(map(is_standard, ["requests", "yaml", "osx"]))


def test_local_modules_are_those_beside_the_start_and_at_the_top() -> None:
    files = ["src/agent.py", "src/tools/search.py", "prompts/a.py", "lib.py", "data/x.json"]
    assert local_modules(files, "src/agent.py") == {"src", "agent", "tools", "prompts", "lib"}


def test_files_of_tests_and_packaging_are_not_the_program() -> None:
    assert all(map(is_test, ["tests/helper.py", "test_a.py", "a/b_test.py", "conftest.py"]))
    assert not any(map(is_test, ["agent.py", "latest.py", "contest/main.py"]))


@pytest.mark.parametrize("guard", ["__name__ == '__main__'", '"__main__" == __name__'])
def test_a_file_that_starts_itself_is_known_by_its_guard(guard: str) -> None:
    assert starts_itself(f"if {guard}:\n main()\n")
    assert not starts_itself("if __name__ == 'other':\n main()\n")


@pytest.mark.parametrize(
    ("name", "package"),
    [
        ("openai.OpenAI", "openai>=1.0"),
        ("langchain.chains.LLMChain", "langchain"),
        ("fastapi.FastAPI", "fastapi[standard]"),
        ("langchain_openai.ChatOpenAI", "langchain-openai"),
        ("yaml", "pyyaml"),
        ("PIL.Image", "pillow"),
        ("cv2", "opencv-python-headless"),
        ("sklearn.svm", "scikit-learn"),
        ("bs4.BeautifulSoup", "beautifulsoup4"),
        ("dotenv.load_dotenv", "python-dotenv"),
        ("google.genai", "google-genai"),
        ("google.cloud.storage", "google-cloud-storage"),
        ("google.cloud.tasks_v2", "google-cloud-tasks"),
        ("google.cloud.secretmanager_v1", "google-cloud-secretmanager"),
        ("google.protobuf.message", "protobuf"),
        ("google", None),
        ("google.cloud", None),
        ("azure.identity.DefaultAzureCredential", "azure-identity"),
        ("azure.storage.blob", "azure-storage-blob"),
        ("opentelemetry.trace", "opentelemetry-api"),
        ("opentelemetry.sdk.trace", "opentelemetry-sdk"),
        ("Unknown_Thing.part", "unknown-thing"),
    ],
)
def test_an_import_is_provided_by_its_package(name: str, package: str | None) -> None:
    assert package_of(name) == package


def test_each_package_is_wanted_once() -> None:
    assert packages_of(["yaml", "yaml.nodes", "bs4", "google"]) == ["beautifulsoup4", "pyyaml"]


def test_no_entry_says_what_would_follow_without_it() -> None:
    needless = [
        name for name, package in KNOWN.items() if "." not in name and normalised(name) == package
    ]
    assert needless == []
    assert KNOWN.keys().isdisjoint(DOCUMENTED)


NOT_AS_TYPESHED = {"psycopg2": "psycopg2-binary", "management": "management", "timer": "timer"}
"""The first needs no compiler; the others are pieces of a package that a program never imports."""


def test_every_module_that_typeshed_knows_gets_the_package_that_typeshed_names() -> None:
    from mypy.stubinfo import non_bundled_packages_flat

    expected = {
        module: normalised(stubs.removeprefix("types-"))
        for module, stubs in non_bundled_packages_flat.items()
        # Of the packages that run in a Linux container at all.
        if stubs.startswith("types-") and stubs != "types-pywin32"
    } | NOT_AS_TYPESHED
    assert len(expected) > 100
    assert {name: normalised(package_of(name) or "") for name in expected} == expected
