"""Secrets in logs."""

from __future__ import annotations

import base64
import random
from collections.abc import Callable
from itertools import pairwise, zip_longest

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.journal_entries import MAX_MESSAGE_CHARACTERS
from agent.masking import MaskingSink
from agent.step_reports import failure, without_secrets
from pipelines_schema.contract import CompletionReason
from pipelines_schema.log_frames import Stream
from pipelines_schema.masking import MASK, Masker
from pipelines_schema.secret_forms import families


def shown(secrets: list[str], chunks: list[bytes]) -> bytes:
    masker = Masker(secrets)
    return b"".join([*(masker.take(chunk) for chunk in chunks), masker.end()])


def test_a_secret_is_masked_wherever_it_stands() -> None:
    assert shown(["hunter2"], [b"a hunter2 b hunter2hunter2"]) == b"a *** b ******"


def test_a_secret_is_masked_however_the_chunks_cut_it() -> None:
    text = b"before hunter2, after hunter"
    for first in range(len(text)):
        for second in range(first, len(text)):
            chunks = [text[:first], text[first:second], text[second:]]
            assert shown(["hunter2"], chunks) == b"before ***, after hunter"


def test_what_can_not_become_a_secret_is_shown_at_once() -> None:
    masker = Masker(["hunter2"])
    assert masker.take(b"the hunt") == b"the "
    assert masker.take(b"ing!") == b"hunting!"


def test_the_longer_of_two_secrets_is_masked_whole() -> None:
    secrets = ["abc", "abcdef"]
    assert shown(secrets, [b"xabcdefx abcx"]) == b"x***x ***x"
    assert shown(secrets, [b"xabc", b"defx ab", b"cx"]) == b"x***x ***x"


def test_secrets_that_overlap_leave_nothing_of_either() -> None:
    for cut in range(7):
        text = b"1abcdef2"
        assert shown(["abcd", "cdef"], [text[:cut], text[cut:]]) == b"1***2"


def test_each_line_of_a_secret_of_several_lines_is_masked() -> None:
    key = "-----BEGIN-----\nMIIEpAIBAAK\n  indented\n}\n-----END-----\n"
    assert shown([key], [b"> MIIEpAIBAAK\r\nindented }"]) == b"> ***\r\n*** }"
    assert shown([key], [key.encode()]) == b"***\n***\n  ***\n}\n***\n"


@pytest.mark.parametrize("prefix", ["", "a", "ab", "abc", "user:"])
@pytest.mark.parametrize("suffix", ["", "\n", "xy"])
def test_the_base64_of_a_secret_is_masked_also_within_a_longer_text(
    prefix: str, suffix: str
) -> None:
    secret = "correct horse battery staple"
    encoded = base64.b64encode((prefix + secret + suffix).encode())
    result = shown([secret], [b"Authorization: Basic " + encoded])
    assert MASK in result
    left = result.removeprefix(b"Authorization: Basic ").replace(MASK, b"")
    # What is left may be the group that mixes with the neighbours: too little to be of use.
    assert len(left) <= len(base64.b64encode((prefix + suffix).encode())) + 8


def test_base64_over_several_lines_is_masked_line_by_line() -> None:
    secret = "".join(random.Random(1).choices("abcdefghij", k=300))
    encoded = base64.encodebytes(secret.encode())
    assert shown([secret], [encoded]).replace(MASK, b"").strip() == b""


def test_a_secret_too_short_to_hide_masks_nothing() -> None:
    assert shown(["a", "}"], [b"a banana }"]) == b"a banana }"


def test_stdout_and_stderr_do_not_mix() -> None:
    class Kept:
        def __init__(self) -> None:
            self.parts: list[tuple[Stream, bytes]] = []

        def write(self, stream: Stream, data: bytes) -> None:
            self.parts.append((stream, data))

    kept = Kept()
    sink = MaskingSink(kept, {"A": "hunter2"})
    sink.write(Stream.STDOUT, b"hun")
    sink.write(Stream.STDERR, b"ter2")
    sink.write(Stream.STDOUT, b"ter2")
    sink.end()
    assert kept.parts == [(Stream.STDERR, b"ter2"), (Stream.STDOUT, b"***")]


def test_a_text_is_masked_whole_whatever_a_stream_holds_back() -> None:
    masker = Masker(["hunter2", "ünter3"])
    assert masker.take(b"hun") == b""
    assert masker.hide("no such user hunter2, nor ünter3") == "no such user ***, nor ***"
    assert masker.fresh().take(b"ter2") == b"ter2"
    assert masker.take(b"ter2") == b"***"


def test_a_message_is_masked_before_it_is_shortened() -> None:
    secret = "hunter2-hunter2"
    text = "x" * (MAX_MESSAGE_CHARACTERS - 70) + secret * 40
    report = without_secrets(failure(CompletionReason.ENGINE, text), {"A": secret})
    assert "hun" not in (report.message_to_send or "")
    assert len(report.message_to_send or "") <= MAX_MESSAGE_CHARACTERS


# Bytes whose base64 has every sign that the two alphabets differ in, and every kind of padding.
ODD_SECRETS = ["~~~???>>>", "~~~???>>>x", "~~~???>>>xy", "k" * 58]
ENCODERS = [base64.b64encode, base64.urlsafe_b64encode]


@pytest.mark.parametrize("secret", ODD_SECRETS)
@pytest.mark.parametrize("encode", ENCODERS)
@pytest.mark.parametrize("end", ["", "\n"])
@pytest.mark.parametrize("padding", [b"=", b""])
def test_the_base64_of_a_secret_is_masked_whole_in_either_alphabet_however_it_is_cut(
    secret: str, encode: Callable[[bytes], bytes], end: str, padding: bytes
) -> None:
    encoded = encode((secret + end).encode())
    text = encoded if padding else encoded.rstrip(b"=")
    for cut in range(len(text)):
        assert shown([secret], [b"<" + text[:cut], text[cut:] + b">"]) == b"<***>"


@pytest.mark.parametrize("secret", [*ODD_SECRETS, "abc", "two\nlines of it"])
def test_each_form_of_a_secret_is_held_back_until_its_last_byte(secret: str) -> None:
    for form in forms([secret]):
        masker = Masker([secret])
        out = masker.take(b"<" + form[:-1])
        out += masker.take(form[-1:]) + masker.take(b">") + masker.end()
        assert out == b"<***>", form


@pytest.mark.parametrize(
    ("secrets", "text", "expected"),
    [
        (["abcdef", "bcd"], b"abcdef", b"***"),
        (["bcd", "abcdef"], b"xabcdefx", b"x***x"),
        (["abcdef", "bcd", "cde"], b"abcdefabcdef", b"******"),
        (["abcdef", "efghij", "fgh"], b"1abcdefghij2", b"1***2"),
        (["aaa"], b"aaaaa", b"***"),
        (["abc", "def"], b"abcdef", b"******"),
        (["abc", "cde", "efg"], b"abcdefg", b"***"),
    ],
)
def test_secrets_within_and_beside_each_other_leave_nothing_however_they_are_cut(
    secrets: list[str], text: bytes, expected: bytes
) -> None:
    for first in range(len(text) + 1):
        for second in range(first, len(text) + 1):
            chunks = [text[:first], text[first:second], text[second:]]
            assert shown(secrets, chunks) == expected, (first, second)


def forms(secrets: list[str]) -> list[bytes]:
    return [form for family in families(secrets) for form in family.forms]


def told_apart(secrets: list[str], text: bytes) -> bytes:
    """The same, worked out byte by byte: what is secret, and where one mask ends."""
    ends = [0] * (len(text) + 1)
    for form in forms(secrets):
        for begin in range(len(text)):
            if text.startswith(form, begin):
                ends[begin] = max(ends[begin], begin + len(form))
    result, until = b"", 0
    for position in range(len(text)):
        if ends[position] and position >= until:
            result += MASK
        until = max(until, ends[position])
        if position >= until:
            result += text[position : position + 1]
    return result


@settings(max_examples=300, deadline=None)
@given(
    secrets=st.lists(st.text("ab", min_size=3, max_size=6), max_size=4),
    parts=st.lists(st.text("abc", max_size=7), max_size=8),
    cuts=st.lists(st.integers(0, 60), max_size=6),
)
def test_exactly_the_secrets_are_masked_whatever_the_chunks(
    secrets: list[str], parts: list[str], cuts: list[int]
) -> None:
    # The secrets themselves stand in the text, too, or most examples would have none.
    data = "".join(
        part + other for part, other in zip_longest(parts, secrets, fillvalue="")
    ).encode()
    places = [0, *sorted(min(cut, len(data)) for cut in cuts), len(data)]
    chunks = [data[a:b] for a, b in pairwise(places)]
    assert shown(secrets, chunks) == told_apart(secrets, data)
