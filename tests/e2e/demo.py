"""`pushrod demo` with a data folder of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any


class Demo:
    def __init__(self, folder: Path, python: str = sys.executable) -> None:
        self._python, self._folder = python, folder
        self.data = folder / "pushrod/demo"
        kept = {k: v for k, v in os.environ.items() if k not in ("PUSHROD_DATA", "PUSHROD_TOKEN")}
        self._environment = {**kept, "XDG_DATA_HOME": str(folder)}

    def run(
        self, *options: str, extra: Mapping[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [self._python, "-m", "pushrod", "demo", *options],
            cwd=self._folder,  # `-m` looks there first, and no checkout may be found
            env={**self._environment, **(extra or {})},
            capture_output=True,
            text=True,
            timeout=240,
        )

    def stop(self, folder: Path) -> str:
        """Ends its pushrod; the engine is everybody's, so this one looks for it elsewhere."""
        ended = self.run("--stop", extra={"PUSHROD_ENGINE_DIR": str(folder / "no-engine")})
        assert ended.returncode == 0, ended.stderr
        return ended.stdout

    @property
    def process(self) -> Mapping[str, Any]:
        process: Mapping[str, Any] = json.loads((self.data / "background.json").read_text())[
            "process"
        ]
        return process
