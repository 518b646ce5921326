"""The coordinator's own secret and what is derived from it."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import os
import secrets
import stat
from dataclasses import dataclass, field
from pathlib import Path

from coordinator.settings import Settings

KEY_FILE = "secret-key"
"""In the data folder."""
KEY_PRINT_FILE = "secret-key-print"
"""In a data folder whose key is in a file of the operator's: by it another key is noticed, and that
there was one."""
KEY_BYTES = 32
MAX_KEY_BYTES = 4096
_WRITTEN = b"prk_"
"""Before a key that is written as text."""
CACHE_ID_CHARACTERS = 40


class KeyUnusable(Exception):
    """The key file is not as it was written."""


@dataclass(frozen=True, slots=True)
class Keys:
    master: bytes = field(repr=False)

    def step_token(self, step_id: str, epoch: int) -> str:
        """A token for one attempt. Derived, so that the same script can be served again."""
        return f"prs_{step_id}_{epoch}_{self._sign(f'step:{step_id}:{epoch}')}"

    def read_step_token(self, token: str) -> tuple[str, int] | None:
        """Step id and epoch of a step token that is ours; whether it is still current, the
        caller must see."""
        prefix, _, rest = token.partition("_")
        step_id, _, tail = rest.partition("_")
        epoch, _, signature = tail.partition("_")
        if not token.isascii() or prefix != "prs" or not epoch.isdigit() or len(epoch) > 18:
            return None
        expected = self._sign(f"step:{step_id}:{int(epoch)}")
        if not hmac.compare_digest(expected.encode(), signature.encode()):
            return None
        return step_id, int(epoch)

    def webhook_secret(self, project_id: str, number: int = 0) -> str:
        """The project's first, or its `number`th new one."""
        return self._sign(f"webhook:{project_id}" + (f":{number}" if number else ""))

    def outgoing_secret(self, project_id: str) -> str:
        """With which the webhooks that we send are signed."""
        return self._sign(f"outgoing:{project_id}")

    def cache_id(self, *parts: str) -> str:
        """Who knows the parts can't work it out: an image build's frontend, which a Dockerfile
        names, may mount any cache by its identity."""
        return self._sign("\0".join(("cache", *parts)))[:CACHE_ID_CHARACTERS]

    @property
    def print(self) -> str:
        """By which two coordinators see that they have the same key; it tells nothing of it."""
        return self._sign("print")

    def peer_signature(self, text: str) -> str:
        """Of what one coordinator tells another."""
        return self._sign(f"peer:{text}")

    def _sign(self, text: str) -> str:
        return hmac.new(self.master, text.encode(), hashlib.sha256).hexdigest()


def hash_token(token: str) -> str:
    """Tokens are random and long, so a plain digest is enough to store."""
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).hexdigest()


def new_token() -> str:
    return "pr_" + secrets.token_urlsafe(32)


def new_key() -> str:
    """One line of text, for a file that `secret_key_file` names."""
    encoded = base64.urlsafe_b64encode(secrets.token_bytes(KEY_BYTES)).rstrip(b"=")
    return (_WRITTEN + encoded).decode()


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyPlace:
    """Where an installation's key is."""

    data: Path
    given: Path | None = None
    """A file of the operator's, which is only read; None: the key is in the data folder, where it
    is made if there is none."""

    @property
    def file(self) -> Path:
        return self.given or self.data / KEY_FILE


def key_place(settings: Settings) -> KeyPlace:
    return KeyPlace(data=settings.data, given=settings.secret_key_file)


def load_keys(place: KeyPlace) -> Keys:
    """Read the key, or make it, mode 0600. Raises KeyUnusable, OSError."""
    known = _known_print(place.data)
    if place.given is None and not place.file.exists():
        if known is not None:
            raise KeyUnusable(
                f"the key of {place.data} was in a file that secret_key_file named: name it again, "
                f"or put a copy of that file at {place.file}; without it the secrets are lost"
            )
        write_private(place.file, secrets.token_bytes(KEY_BYTES))
    keys = Keys(_read_key(place))
    if known not in (None, keys.print):
        raise KeyUnusable(
            f"{place.file} holds another key than the one that {place.data} worked with, and "
            "could open none of its secrets: put that one back"
        )
    if place.given is not None and known is None:
        _see_that_it_is_no_other(place, keys)
        write_private(place.data / KEY_PRINT_FILE, keys.print.encode())
    return keys


def _known_print(data: Path) -> str | None:
    try:
        return (data / KEY_PRINT_FILE).read_text("ascii").strip()
    except FileNotFoundError:
        return None


def _see_that_it_is_no_other(place: KeyPlace, keys: Keys) -> None:
    """The data folder's own key may be the one that was copied to the operator's file."""
    own = place.data / KEY_FILE
    if own.exists() and _read_key(KeyPlace(data=place.data)) != keys.master:
        raise KeyUnusable(
            f"{place.file} (secret_key_file) holds another key than {own}, by which the secrets of "
            f"this installation are sealed: copy {own} to {place.file}, or leave the setting out"
        )


def _read_key(place: KeyPlace) -> bytes:
    given = place.given
    # The data folder, closed to others, is what keeps its own file.
    content = place.file.read_bytes() if given is None else _read_given(given)
    if content.startswith(_WRITTEN):
        return _decoded(place.file, content)
    if len(content) > MAX_KEY_BYTES:
        raise KeyUnusable(f"{place.file} is no key: it holds more than {MAX_KEY_BYTES} bytes")
    if len(content) >= KEY_BYTES:
        return content
    wanted = (
        "restore it from the last copy of the data folder; without it the secrets are lost"
        if given is None
        else "`pushrod key create` prints a new key"
    )
    raise KeyUnusable(f"{place.file} holds {len(content)} bytes, {KEY_BYTES} are needed: {wanted}")


def _read_given(file: Path) -> bytes:
    try:
        return read_private(file, MAX_KEY_BYTES + 1)
    except PublicFile as error:
        raise KeyUnusable(f"secret_key_file {error}") from error
    except OSError as error:
        raise KeyUnusable(
            f"secret_key_file {file} can't be read: {error.strerror}; where there is no key yet, "
            f"`pushrod key create {file}` makes one"
        ) from error


def _decoded(file: Path, content: bytes) -> bytes:
    """A line's end, which editors and platforms add, is no part of it."""
    text = content.strip().removeprefix(_WRITTEN)
    try:
        key = base64.b64decode(text + b"=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if len(key) != KEY_BYTES:
        raise KeyUnusable(
            f"{file} holds {_WRITTEN.decode()} and then no whole key: put a copy of the line "
            "that `pushrod key create` printed into it, all of it"
        )
    return key


class PublicFile(Exception):
    """Others may read or change what should be private; the message says how to mend it."""


def read_private(path: Path, most: int) -> bytes:
    """At most so many bytes of a secret that the operator gave. Raises PublicFile, OSError.

    It is its owner's alone; or, where a platform owns it (a mounted secret of Kubernetes), our
    group's, by which alone we can read it.
    """
    with path.open("rb") as file:
        found = os.fstat(file.fileno())
        if is_public(found.st_mode, is_ours=found.st_uid == os.geteuid()):
            raise PublicFile(
                f"{path} can be read by others: chmod 600 {path}, or mount it with mode 0400"
            )
        return file.read(most)


def is_public(mode: int, *, is_ours: bool) -> bool:
    return bool(stat.S_IMODE(mode) & (0o077 if is_ours else 0o037))


def write_private(path: Path, content: bytes) -> None:
    """Write a file that only its owner reads, whole or not at all."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
