from pathlib import Path

from coordinator.domain.diagram import diagrams

ARCHITECTURE = Path(__file__).parents[3] / "ARCHITECTURE.md"


def test_the_documented_state_diagrams_are_those_of_the_tables() -> None:
    assert diagrams() in ARCHITECTURE.read_text()
