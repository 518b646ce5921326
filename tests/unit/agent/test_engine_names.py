from pathlib import Path

import pytest

from agent.opening import open_engine
from agent.settings import InvalidSettingsError


async def test_a_name_that_no_engine_has_is_refused_and_not_waited_for(tmp_path: Path) -> None:
    with pytest.raises(InvalidSettingsError, match="use auto, host, buildkit"):
        await open_engine("bogus", tmp_path)


async def test_a_ca_file_without_certificates_is_refused_before_any_engine_is_asked(
    tmp_path: Path,
) -> None:
    with pytest.raises(InvalidSettingsError, match=r"ca_file: .*none\.pem"):
        await open_engine("auto", tmp_path, ca_file=tmp_path / "none.pem")
