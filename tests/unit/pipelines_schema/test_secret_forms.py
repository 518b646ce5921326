"""What real programs make of a secret is masked, however the log's chunks cut it."""

from __future__ import annotations

import json
import shlex
import subprocess
from collections.abc import Callable
from urllib.parse import quote, quote_plus

import pytest

from pipelines_schema.masking import MASK, Masker
from pipelines_schema.secret_forms import families

SECRETS = [
    "hunter2",
    "it's$a\"q",
    "pass word  two",
    "a'b'c'",
    "'''abc",
    "back\\slash/and'quote",
    "tab\tand\x1bescape'",
    "grüße & <tag>|x",
    '{"key": "v\'al"}',
    "#~!*?[x]^`$(id)`,;",
    'first line\'s\n\tsecond "line"',
    "%41+& =",
]


def shown(secret: str, text: bytes, size: int) -> bytes:
    masker = Masker([secret])
    parts = [masker.take(text[at : at + size]) for at in range(0, len(text), size)]
    return b"".join([*parts, masker.end()])


def bash(script: str, secret: str, locale: str) -> bytes:
    ran = subprocess.run(
        ["bash", "-c", script],
        env={"S": secret, "PATH": "/usr/bin:/bin", "LC_ALL": locale},
        capture_output=True,
        check=True,
    )
    return (ran.stdout + ran.stderr).rstrip(b"\n")


def left_of(text: bytes) -> bytes:
    """What is left beside the mask, the quotes around a value and the space between its lines."""
    return b"".join(text.replace(MASK, b"").split()).strip(b"$'\"")


@pytest.mark.parametrize("locale", ["C", "C.UTF-8"])
@pytest.mark.parametrize("secret", SECRETS)
def test_a_trace_shows_nothing_of_a_secret(secret: str, locale: str) -> None:
    traced = bash('set -x; : "$S"', secret, locale).removeprefix(b"+ : ")
    for size in (1, 3, 7, len(traced)):
        assert left_of(shown(secret, traced, size)) == b"", traced


@pytest.mark.parametrize("locale", ["C", "C.UTF-8"])
@pytest.mark.parametrize("script", ['printf %q "$S"', 'printf %s "${S@Q}"'])
@pytest.mark.parametrize("secret", SECRETS)
def test_what_bash_quotes_shows_nothing_of_a_secret(secret: str, script: str, locale: str) -> None:
    quoted = bash(script, secret, locale)
    assert left_of(shown(secret, quoted, 5)) == b"", quoted


def as_go(secret: str) -> str:
    text = json.dumps(secret, ensure_ascii=False)
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


@pytest.mark.parametrize(
    "encode",
    [
        json.dumps,
        lambda secret: json.dumps(secret, ensure_ascii=False),
        lambda secret: json.dumps(secret).replace("/", "\\/"),
        as_go,
        quote,
        quote_plus,
        lambda secret: quote(secret, safe=""),
        lambda secret: quote(secret, safe="!'()*"),
    ],
)
@pytest.mark.parametrize("secret", SECRETS)
def test_what_json_and_urls_make_of_a_secret_is_masked(
    secret: str, encode: Callable[[str], str]
) -> None:
    text = f"<{encode(secret)}>".encode()
    for size in (1, 4, len(text)):
        assert shown(secret, text, size) in (b"<***>", b'<"***">'), text


@pytest.mark.parametrize("secret", [secret for secret in SECRETS if "\n" not in secret])
def test_what_pythons_shlex_quotes_is_masked(secret: str) -> None:
    assert left_of(shown(secret, shlex.quote(secret).encode(), 6)) == b""


def test_an_escape_of_what_is_too_short_to_hide_masks_nothing() -> None:
    text = b"%7D \\u00fc \\t a%7D }"
    assert shown("}\nü\n\t\nlong enough", text, 5) == text


@pytest.mark.parametrize("secret", SECRETS)
def test_every_form_has_what_its_family_is_looked_for_by(secret: str) -> None:
    assert all(family.common in form for family in families([secret]) for form in family.forms)
