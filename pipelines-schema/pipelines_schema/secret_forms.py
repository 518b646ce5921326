"""What a secret looks like as a shell, JSON, a URL or base64 has it. Pure.

A trace (`set -x`), a dumped request or a URL shows secrets without anybody wanting it; these are
the spellings that the usual programs give them.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from urllib.parse import quote

MIN_SECRET_BYTES = 3
"""Shorter ones (a line that is `}`) would mask half the log and protect nothing."""
BASE64_COLUMNS = 76
"""Where `base64` breaks its lines."""
_SHELL_SIGNS = re.compile(r"""[\s'"\\|&;()<>!{}*\[\]?^$`,]|^[#~]""")
_NEVER_ESCAPED = re.compile("[A-Za-z0-9_]+")
_HTML_SIGNS = re.compile("[<>&\u2028\u2029]")
_ESCAPED_BYTE = re.compile(r"%[0-9A-F]{2}")
_ANSI_C = {
    **{ord(sign): rf"\{sign}" for sign in "\\'"},
    **dict(zip(b"\a\b\t\n\v\f\r\x1b", (rf"\{letter}" for letter in "abtnvfrE"), strict=True)),
}
_UNESCAPED_IN_URLS = ("", "/", "!'()*")
"""Of a strict encoder, of one for paths, of JavaScript's encodeURIComponent."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Family:
    """Forms of one text, and what each of them holds: where that is not, none of them is."""

    common: bytes
    forms: tuple[bytes, ...]
    longest: re.Pattern[bytes]
    """Finds the longest of them that begins at a place."""


def _family(common: bytes, forms: Iterable[bytes]) -> Family:
    longest_first = sorted(forms, key=len, reverse=True)
    pattern = re.compile(b"|".join(map(re.escape, longest_first)))
    return Family(common=common, forms=tuple(longest_first), longest=pattern)


def families(secrets: Iterable[str]) -> tuple[Family, ...]:
    """All that the secrets can look like in a log: whole, and each line of one with several.

    Not the whole with its line ends, since masking these would run the log together.
    """
    found: dict[Family, None] = {}
    for secret in secrets:
        lines = [line.strip() for line in secret.encode().splitlines()]
        for text in (secret, *(line.decode() for line in lines)):
            if len(text.encode()) >= MIN_SECRET_BYTES:
                found[_spellings(text)] = None
        for form in _base64_forms(secret.encode()):
            if len(form) >= MIN_SECRET_BYTES:
                found[_family(form, (form,))] = None
    return tuple(found)


def _spellings(text: str) -> Family:
    spelled = dict.fromkeys((text, *_in_shells(text), *_in_json(text), *_in_urls(text)))
    in_a_line = (form for form in spelled if "\n" not in form and "\r" not in form)
    same = max(_NEVER_ESCAPED.findall(text), key=len, default="")
    return _family(same.encode(), (form.encode() for form in in_a_line))


def _in_shells(text: str) -> Iterator[str]:
    """Without the quotes around it: what stands in a trace, and what `%q` and its like print."""
    yield text.replace("'", r"'\''")
    yield text.replace("'", "'\"'\"'")
    yield _SHELL_SIGNS.sub(lambda sign: "\\" + sign[0], text)
    yield "".join(_ANSI_C.get(ord(sign), sign) for sign in text)
    # Where the locale knows no more than ASCII.
    yield "".join(_ANSI_C.get(byte, _ascii_or_octal(byte)) for byte in text.encode())


def _ascii_or_octal(byte: int) -> str:
    return chr(byte) if 32 <= byte < 127 else f"\\{byte:03o}"


def _in_json(text: str) -> Iterator[str]:
    for ascii_only in (False, True):
        escaped = json.dumps(text, ensure_ascii=ascii_only)[1:-1]
        yield escaped
        yield escaped.replace("/", r"\/")
        yield _HTML_SIGNS.sub(lambda sign: f"\\u{ord(sign[0]):04x}", escaped)


def _in_urls(text: str) -> Iterator[str]:
    for unescaped in _UNESCAPED_IN_URLS:
        encoded = quote(text, safe=unescaped)
        for form in (encoded, encoded.replace("%20", "+")):
            yield form
            yield _ESCAPED_BYTE.sub(lambda byte: byte[0].lower(), form)


def _base64_forms(value: bytes) -> Iterator[bytes]:
    """Of the value alone, and of its middle wherever it begins within a longer text."""
    for text in (value, value + b"\n"):
        for encode in (base64.b64encode, base64.urlsafe_b64encode):
            encoded = encode(text)
            yield encoded
            yield encoded.rstrip(b"=")
            if len(encoded) > BASE64_COLUMNS:
                for start in range(0, len(encoded), BASE64_COLUMNS):
                    yield encoded[start : start + BASE64_COLUMNS]
    for before in (1, 2):
        encoded = base64.b64encode(b"\0" * before + value)
        # The first group mixes with what stands before, the last with what follows.
        inner = encoded[4 : len(encoded) - (4 if (before + len(value)) % 3 else 0)]
        if len(inner) >= 8:
            yield inner
    inner = base64.b64encode(value)[: len(value) // 3 * 4]
    if len(inner) >= 8:
        yield inner
