"""What `npm ci` does to files: packages of the lock come from a cache by content, or whence they
are resolved; links lead to programs in `.bin` and to packages of the workspace."""

import hashlib
import json
import shutil
import sys
from pathlib import Path

CACHE = Path.home() / ".npm" / "_cacache" / "content-v2"
MODULES = Path("node_modules")


def installed(target: Path, package: dict[str, str]) -> str:
    """Whether it was `cached`, or had to be `fetched`."""
    name = hashlib.sha512(package["resolved"].encode()).hexdigest()
    content = CACHE / name[:2] / name[2:]
    found = content.exists()
    if not found:
        shutil.copytree(package["resolved"], content)
    shutil.copytree(content, target)
    return "cached" if found else "fetched"


shutil.rmtree(MODULES, ignore_errors=True)
lock = json.loads(Path("package-lock.json").read_text())
(MODULES / ".bin").mkdir(parents=True)
for place, package in lock["packages"].items():
    target = Path(place)
    target.parent.mkdir(parents=True, exist_ok=True)
    if package.get("link"):
        target.symlink_to(Path("../" * (len(target.parts) - 1)) / package["resolved"])
        continue
    sys.stdout.write(f"{target.name}={installed(target, package)}\n")
    for program, file in package["bin"].items():
        (MODULES / ".bin" / program).symlink_to(f"../{target.name}/{file}")
shutil.copy("package-lock.json", MODULES / ".package-lock.json")
