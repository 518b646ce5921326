"""What a Python file imports, read from its syntax tree; nothing of it is run."""

from __future__ import annotations

import ast
import sys
import warnings
from collections.abc import Iterable, Iterator, Mapping
from pathlib import PurePosixPath

MAX_FILE_CHARACTERS = 200_000
MAX_READ_CHARACTERS = 500_000
"""Of one program. A tree takes hundreds of bytes for each character, and while it is made nothing
else happens in this process: at worst that is a second for these."""
_UPLOADED = "an-uploaded-file"
_WINDOWS_ONLY = frozenset({"msvcrt", "nt", "winreg", "winsound", "_winapi"})
_MISSING = frozenset({"ImportError", "ModuleNotFoundError", "Exception", "BaseException"})
_TESTS = frozenset({"test", "tests", "testing"})


def parse(source: str) -> ast.Module:
    """Raises SyntaxError, ValueError, RecursionError, MemoryError."""
    if len(source) > MAX_FILE_CHARACTERS:
        raise ValueError(f"it has more than {MAX_FILE_CHARACTERS} characters")
    # An odd escape in somebody's text must not warn in our log (nor fail where warnings do).
    warnings.filterwarnings("ignore", module=_UPLOADED)
    return ast.parse(source, filename=_UPLOADED)


def imported_names(source: str) -> set[str]:
    """Dotted names that must be importable for the file to run.

    `from a.b import c` gives `a.b.c`, since only the name tells apart what lives in a shared
    namespace. Relative imports are left out, and so are those for type checkers alone, those of
    another operating system, and the fallbacks of a `try` whose first choice can be installed.

    Raises as `parse`.
    """
    return set(_of_statements(parse(source).body))


def starts_itself(source: str) -> bool:
    """Whether it has an `if __name__ == "__main__":`. Raises as `parse`."""
    return any(isinstance(node, ast.If) and _is_main(node.test) for node in parse(source).body)


def assigned_calls(source: str) -> Mapping[str, str]:
    """Names of the module made by calling something: `app = FastAPI()` → {"app": "FastAPI"}."""
    found = {}
    for node in parse(source).body:
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Call):
            called = node.value.func
            word = called.attr if isinstance(called, ast.Attribute) else getattr(called, "id", "")
            for target in node.targets:
                if isinstance(target, ast.Name):
                    found[target.id] = word
    return found


def is_standard(name: str) -> bool:
    return name.partition(".")[0] in sys.stdlib_module_names


def relative_level(source: str) -> int:
    """How many folders up its relative imports reach, as they count dots; 0 for none.

    Raises as `parse`.
    """
    nodes = ast.walk(parse(source))
    return max((node.level for node in nodes if isinstance(node, ast.ImportFrom)), default=0)


def local_modules(files: Iterable[str], entry_point: str) -> set[str]:
    """What the program may import of itself: files and folders beside its start, and above it."""
    folder = PurePosixPath(entry_point).parent
    found = set()
    for name in files:
        if not name.endswith(".py"):
            continue
        path = PurePosixPath(name)
        for root in {folder, *folder.parents}:
            if path.is_relative_to(root):
                found.add(PurePosixPath(path.relative_to(root).parts[0]).stem)
    return found


def is_test(name: str) -> bool:
    """Files that the running program does not need."""
    path = PurePosixPath(name)
    return (
        not _TESTS.isdisjoint(path.parts[:-1])
        or path.stem.startswith("test_")
        or path.stem.endswith("_test")
        or path.name in ("conftest.py", "setup.py", "noxfile.py")
    )


def _of_statements(statements: Iterable[ast.AST]) -> Iterator[str]:
    """Iterative: somebody's nesting must not be our recursion."""
    waiting = list(statements)
    while waiting:
        node = waiting.pop()
        match node:
            case ast.Import():
                yield from (alias.name for alias in node.names)
            case ast.ImportFrom():
                yield from _of_import_from(node)
            case ast.Call():
                yield from _of_dynamic_import(node)
                waiting += ast.iter_child_nodes(node)
            case ast.If():
                waiting += _living_branches(node)
            case ast.Try() | ast.TryStar():
                waiting += _needed_of_try(node)
            case _:
                waiting += ast.iter_child_nodes(node)


def _of_import_from(node: ast.ImportFrom) -> Iterator[str]:
    if node.level == 0 and node.module:
        yield from (f"{node.module}.{alias.name}" for alias in node.names)


def _of_dynamic_import(node: ast.Call) -> Iterator[str]:
    """`importlib.import_module("name")` and `__import__("name")`, where the name stands there."""
    function = node.func
    word = function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")
    if word not in ("import_module", "__import__") or not node.args:
        return
    name = node.args[0]
    if isinstance(name, ast.Constant) and isinstance(name.value, str):
        parts = name.value.split(".")
        if all(part.isidentifier() for part in parts):
            yield name.value


def _living_branches(node: ast.If) -> list[ast.AST]:
    """What may run in a Linux container."""
    if _names(node.test) == "TYPE_CHECKING":
        return list(node.orelse)
    answer = _asks_for_linux(node.test)
    body = [] if answer is False else [node.test, *node.body]
    return body if answer is True else [*body, *node.orelse]


def _asks_for_linux(test: ast.expr) -> bool | None:
    """What a comparison with the operating system's name comes to; None for anything else."""
    match test:
        case ast.Compare(left=left, ops=[ast.Eq() | ast.NotEq() as sign], comparators=[right]):
            name = _names(left)
            value = right.value if isinstance(right, ast.Constant) else None
        case _:
            return None
    linux = {"sys.platform": "linux", "os.name": "posix", "platform.system()": "Linux"}
    if name not in linux or not isinstance(value, str):
        return None
    return (value == linux[name]) is isinstance(sign, ast.Eq)


def _names(node: ast.expr) -> str:
    """`a`, `a.b`, `a.b()` as text; of `typing.TYPE_CHECKING` the last word."""
    match node:
        case ast.Name(id=name):
            return name
        case ast.Attribute(attr="TYPE_CHECKING"):
            return "TYPE_CHECKING"
        case ast.Attribute(value=ast.Name(id=owner), attr=name):
            return f"{owner}.{name}"
        case ast.Call(func=ast.Attribute() as function, args=[], keywords=[]):
            return f"{_names(function)}()"
        case _:
            return ""


def _needed_of_try(node: ast.Try | ast.TryStar) -> list[ast.AST]:
    """The first choice is installed, so that what is imported in its absence is not needed."""
    rest = [*node.body, *node.orelse, *node.finalbody]
    first_choice = list(_of_statements(node.body))
    never_there = any(name.partition(".")[0] in _WINDOWS_ONLY for name in first_choice)
    handlers = [
        handler
        for handler in node.handlers
        if never_there or not first_choice or not _catches_missing(handler)
    ]
    return [*rest, *handlers]


def _catches_missing(handler: ast.ExceptHandler) -> bool:
    caught = handler.type
    kinds = caught.elts if isinstance(caught, ast.Tuple) else [caught]
    return any(kind is None or getattr(kind, "id", "") in _MISSING for kind in kinds)


def _is_main(test: ast.expr) -> bool:
    match test:
        case ast.Compare(left=left, ops=[ast.Eq()], comparators=[right]):
            sides = {getattr(side, "id", getattr(side, "value", None)) for side in (left, right)}
            return sides == {"__name__", "__main__"}
        case _:
            return False
