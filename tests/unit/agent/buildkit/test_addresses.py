from __future__ import annotations

import pytest

from agent.engines.buildkit.client import split_address
from agent.engines.protocol import EngineUnavailable


@pytest.mark.parametrize(
    ("address", "parts"),
    [
        ("/run/a.sock", ("unix", "/run/a.sock")),
        ("unix:///run/a.sock", ("unix", "/run/a.sock")),
        ("docker:///run/a.sock", ("docker", "/run/a.sock")),
        ("tcp://builder.example:1234", ("tcp", "builder.example:1234")),
    ],
)
def test_an_address_is_taken_apart(address: str, parts: tuple[str, str]) -> None:
    assert split_address(address) == parts


@pytest.mark.parametrize("address", ["", "run/a.sock", "http://x", "unix://host/a", "tcp://"])
def test_what_is_no_address_is_refused_by_name(address: str) -> None:
    with pytest.raises(EngineUnavailable, match="not an engine's address"):
        split_address(address)
