"""What coordinators tell each other, in as few notices as it fits in."""

from __future__ import annotations

import json

from coordinator.peers.words import MOST_BYTES, _texts

HOME = "0123456789abcdef"


def _said(texts: list[str]) -> list[object]:
    return [word for text in texts for word in json.loads(text)[1:]]


def test_what_fits_is_one_notice() -> None:
    [text] = _texts(HOME, {'["ready"]': 3, '["ended","s",1]': 1})
    assert json.loads(text) == [HOME, [3, ["ready"]], [1, ["ended", "s", 1]]]


def test_nothing_is_no_notice() -> None:
    assert list(_texts(HOME, {})) == []


def test_none_is_longer_than_the_database_takes_and_no_word_is_lost() -> None:
    words = {json.dumps(["topic", f"build {number:036}"]): 1 for number in range(1000)}
    texts = list(_texts(HOME, words))
    assert max(map(len, texts)) <= MOST_BYTES
    assert len(texts) < 12
    assert _said(texts) == [[1, json.loads(word)] for word in words]


def test_a_word_that_is_too_long_keeps_no_other_from_being_told() -> None:
    long = json.dumps(["cancelled", "b", ["s" * 36] * 1000])
    assert _said(list(_texts(HOME, {'["ready"]': 1, long: 1, '["clock"]': 1}))) == [
        [1, ["ready"]],
        [1, ["clock"]],
    ]
