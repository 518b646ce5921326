from __future__ import annotations

from pathlib import Path

import pytest

from pushrod.downloads import folder_of
from pushrod.errors import CommandError


@pytest.mark.parametrize("name", ["", ".", "..", "../x", "/x", "a\0b"])
def test_no_steps_name_leads_out_of_the_folder(name: str) -> None:
    with pytest.raises(CommandError, match="no folder can be named"):
        folder_of({"name": name}, Path("here"))


@pytest.mark.parametrize("name", ["test", "t (3.12, a)", "...", ".x", "~"])
def test_any_other_name_is_a_folders(name: str) -> None:
    assert folder_of({"name": name}, Path("here")) == Path("here") / name
