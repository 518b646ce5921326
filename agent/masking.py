"""Keeping a step's secrets out of its log, its message and the values that it hands on."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Protocol

from pipelines_schema.log_frames import Stream
from pipelines_schema.masking import Masker


class Sink(Protocol):
    def write(self, stream: Stream, data: bytes) -> None: ...


class MaskingSink:
    """An OutputSink that passes everything on but the secrets. `end` passes what was held back."""

    def __init__(self, output: Sink, secrets: Mapping[str, str]) -> None:
        self._output = output
        masker = Masker(secrets.values())
        self._maskers = {stream: masker.fresh() for stream in Stream}

    def write(self, stream: Stream, data: bytes) -> None:
        self._pass(stream, self._maskers[stream].take(data))

    def end(self) -> None:
        for stream, masker in self._maskers.items():
            self._pass(stream, masker.end())

    def _pass(self, stream: Stream, data: bytes) -> None:
        if data:
            self._output.write(stream, data)


def holders(values: Mapping[str, str], secrets: Mapping[str, str]) -> Iterator[str]:
    """The keys of values in which something would be masked."""
    masker = Masker(secrets.values())
    for key, value in values.items():
        data = f"{key}\n{value}".encode()
        if masker.take(data) + masker.end() != data:
            yield key
