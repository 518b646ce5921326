"""Many small things in one call: how a step's outputs are divided."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

from pipelines_schema.contract_outputs import BATCH_BYTES, OUTPUTS_AT_ONCE

T = TypeVar("T")


def divided(things: Iterable[T], size: Callable[[T], int]) -> Iterator[list[T]]:
    """As few batches as keep both limits, in the order of the things; none is empty."""
    batch: list[T] = []
    total = 0
    for thing in things:
        more = size(thing)
        if batch and (len(batch) == OUTPUTS_AT_ONCE or total + more > BATCH_BYTES):
            yield batch
            batch, total = [], 0
        batch.append(thing)
        total += more
    if batch:
        yield batch
