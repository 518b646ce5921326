"""What `pip install .` does to files: a wheel in pip's cache, unpacked into the virtualenv that
runs this, with a program beside its python."""

import re
import shutil
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

CACHE = Path.home() / ".cache" / "pip" / "wheels"
PROGRAM = "#!{python}\nimport app\n\napp.main()\n"


def described_version() -> str:
    command = ["git", "describe", "--tags", "--long", "--dirty", "--match", "v*"]
    told = subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()
    match = re.fullmatch(r"v([0-9.]+)-([0-9]+)-(g[0-9a-f]+)(-dirty)?", told)
    if match is None:
        raise SystemExit(f"no version: {told}")
    tag, distance, commit, dirty = match.groups()
    return tag if distance == "0" and not dirty else f"{tag}.dev{distance}+{commit}{dirty or ''}"


def built_wheel(version: str) -> Path:
    wheel = Path("dist") / f"app-{version}-py3-none-any.whl"
    wheel.parent.mkdir(exist_ok=True)
    with zipfile.ZipFile(wheel, "w") as archive:
        for file in Path("src").rglob("*.py"):
            archive.write(file, file.relative_to("src"))
        metadata = f"Metadata-Version: 2.1\nName: app\nVersion: {version}\n"
        archive.writestr(f"app-{version}.dist-info/METADATA", metadata)
    return wheel


known = sorted(file.name for file in CACHE.glob("*.whl"))
wheel = built_wheel(described_version())
CACHE.mkdir(parents=True, exist_ok=True)
shutil.copy(wheel, CACHE)
with zipfile.ZipFile(wheel) as archive:
    archive.extractall(sysconfig.get_path("purelib"))
program = Path(sysconfig.get_path("scripts")) / "app"
program.write_text(PROGRAM.format(python=sys.executable))
program.chmod(0o755)
sys.stdout.write(f"cached={len(known)}\n")
