"""What a cloud tells its machines about themselves is shut off from steps by the private engine."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from .image_bench import ImageBench

if TYPE_CHECKING:
    from .conftest import Bench

pytestmark = pytest.mark.engine


async def test_a_step_is_refused_at_once_by_a_link_local_address(own_bench: Bench) -> None:
    ran = await own_bench.run("timeout 20 bash -c ': <>/dev/tcp/169.254.169.254/80' 2>&1")

    assert b"Connection refused" in ran.log.stdout
    assert ran.result.exit_code == 1


async def test_a_dockerfile_fetches_nothing_from_a_link_local_address(
    own_bench: Bench, tmp_path: Path
) -> None:
    images = ImageBench(engine=own_bench.engine, image=own_bench.image, folder=tmp_path / "files")
    images.folder.mkdir()

    added = await images.build("FROM BASE\nADD http://169.254.169.254/latest/x /x\n")

    assert "connection refused" in added.message
