"""Which test saw which answer of which interface: writes docs/conformance.md.

    PUSHROD_ANSWERS=/tmp/answers pytest tests/contract tests/integration
    python -m tests.conformance /tmp/answers

The fixture's callers note method, path, status and test of each answer; here the paths are brought
to the routes of our OpenAPI document, and each status that it declares gets the test that saw it.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

PAGE = Path(__file__).parents[1] / "docs" / "conformance.md"
DOCUMENTS = {
    "Build Server API": r"/api/(projects|docker-images|audit-logs|runner/\{step_id\}(/complete)?$)",
    "Build Execution API": r"/api/v1/",
    "Build API": r"/api/(builds|deploy)",
    "Build Synthesis API": r"/api/build_synthesis/|/artifacts/",
    "Ours beside them": r"/api/(agents(/\{agent_id\}(/(pause|drain|resume))?)?$|docker-images/"
    r"|projects/\{project_id\}(/webhook-secret"
    r"|/builds/\{build_id\}(/(cancel|retry|artifacts\.zip))?)?$)",
}
TESTS_OF = {
    "/api/v1": "/build_execution/",
    "/api/builds": "/build_api/",
    "/api/deploy": "/build_api/",
    "/api/build_synthesis": "/build_synthesis/",
    "/artifacts": "/build_synthesis/",
    "/api/": "/build_server/",
}
"""Part of the paths of the tests of each document, which say most plainly what it is about."""
OURS = (
    r"/(secrets|deliveries|credential|registries|webhook-secret|cancel|retry|approve|stop"
    r"|artifacts\.zip|outbox|notifications|forge-token|forge-webhook|forge-check|laptop-results|results|tests|badge\.svg|builds\.atom)\b"
)
"""What stands below a specification's paths and is not in it."""
HEAD = """\
# What is tested of each interface

Written by `python -m tests.conformance`: each status that a call declares, and a test in which a
real coordinator gave it over HTTP. A unit test looks that these tests still exist. Below the four
documents stand the calls of ours that change and remove what theirs make.
"""
Seen = Mapping[tuple[str, str, int], str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    document: str
    method: str
    path: str
    status: int
    test: str | None


def rows(openapi: Mapping[str, Any], seen: Seen) -> Iterator[Row]:
    told: set[tuple[str, str]] = set()
    for document, pattern in DOCUMENTS.items():
        for path, methods in openapi["paths"].items():
            if not re.match(pattern, path):
                continue
            for method, operation in methods.items():
                # The document changes and removes nothing that was made.
                ours = re.search(OURS, path) or method in ("patch", "delete")
                if (document == "Build Server API" and ours) or (method, path) in told:
                    continue
                told.add((method, path))
                for status in sorted(map(int, operation["responses"])):
                    test = seen.get((method.upper(), path, status))
                    yield Row(
                        document=document,
                        method=method.upper(),
                        path=path,
                        status=status,
                        test=test,
                    )


def read_answers(lines: Iterable[str], paths: Iterable[str]) -> Seen:
    """Lines of `METHOD STATUS TEST EXPECTED PATH`; of several tests the most telling one."""
    of_ours = (path for path in paths if path.startswith(("/api/", "/artifacts/")))
    of_documents = sorted(of_ours, key=_generality)
    routes = [(path, re.compile(_route_pattern(path))) for path in of_documents]
    told: dict[tuple[str, str, int], set[tuple[bool, str]]] = {}
    calls: dict[str, set[tuple[str, str, int]]] = {}
    for line in sorted(set(lines)):
        method, status, test, expected, asked = line.rstrip("\n").split(" ", 4)
        found = next((path for path, pattern in routes if pattern.fullmatch(asked[1:-1])), None)
        if found is not None:
            key = (method, found, int(status))
            told.setdefault(key, set()).add((expected == "1", test))
            calls.setdefault(test, set()).add(key)

    def telling(path: str, expected: bool, test: str) -> tuple[bool, bool, int, str]:
        """One that names the status, of the document's own table, about the fewest calls."""
        own = next(name for start, name in TESTS_OF.items() if path.startswith(start))
        return not expected, own not in test, len(calls[test]), test

    return {
        key: min(tests, key=lambda one: telling(key[1], *one))[1] for key, tests in told.items()
    }


def _generality(path: str) -> tuple[int, int]:
    return path.count("{"), -len(path)


def _route_pattern(path: str) -> str:
    one = re.sub(r"\\\{(?!path\\)\w+\\\}", "[^/]+", re.escape(path))
    return one.replace(r"\{path\}", ".+")


def page(all_rows: Iterable[Row]) -> str:
    lines, document = [HEAD], None
    for row in all_rows:
        if row.document != document:
            document = row.document
            lines += [f"## {document}\n", "| call | status | test |", "|---|---|---|"]
        test = f"`{row.test}`" if row.test else "none"
        lines.append(f"| `{row.method} {row.path}` | {row.status} | {test} |")
    return re.sub(r"\n## ", "\n\n## ", "\n".join(lines)) + "\n"


def openapi() -> dict[str, Any]:
    """The document of the interfaces as they are declared, without a coordinator."""
    import importlib
    import pkgutil

    from aiohttp import web

    from coordinator import api
    from coordinator.api.http.openapi import openapi_document
    from coordinator.api.http.operations import OPERATIONS

    app = web.Application()
    for found in pkgutil.walk_packages(api.__path__, "coordinator.api."):
        module = importlib.import_module(found.name)
        if hasattr(module, "add_routes"):
            module.add_routes(app)
    operations = app[OPERATIONS]
    return openapi_document(operations, server="http://127.0.0.1:3000", version="0")


def main() -> None:
    document = openapi()
    with Path(sys.argv[1]).open() as lines:
        found = list(rows(document, read_answers(lines, document["paths"])))
    PAGE.write_text(page(found))
    for row in found:
        if row.test is None:
            sys.stderr.write(f"no test saw {row.method} {row.path} {row.status}\n")


if __name__ == "__main__":
    main()
