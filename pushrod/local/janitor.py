"""`python -m pushrod.local.janitor FOLDER`: waits until the run that started it is no more, however
it ended, and removes what it left. The run's end is that of our standard input."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

PATIENCE_SECONDS = 10.0
"""Until the kernel has let go of the run's lock."""
TICK_SECONDS = 0.05


def main(folder: Path) -> None:
    while os.read(0, 1024):
        pass
    from pushrod.local.leftovers import remove_if_left

    deadline = time.monotonic() + PATIENCE_SECONDS
    while folder.exists() and not remove_if_left(folder) and time.monotonic() < deadline:
        time.sleep(TICK_SECONDS)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
