"""The coordinator's own secret and what is derived from it."""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
from dataclasses import dataclass, field
from pathlib import Path

KEY_FILE = "secret-key"
"""In the data folder."""
KEY_BYTES = 32
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


def load_keys(path: Path) -> Keys:
    """Read the key file, or make it, mode 0600. Raises KeyUnusable, OSError."""
    if not path.exists():
        write_private(path, secrets.token_bytes(KEY_BYTES))
    master = path.read_bytes()
    if len(master) < KEY_BYTES:
        raise KeyUnusable(
            f"{path} holds {len(master)} bytes, {KEY_BYTES} are needed: restore it from the last "
            "copy of the data folder; without it the secrets are lost"
        )
    return Keys(master)


def write_private(path: Path, content: bytes) -> None:
    """Write a file that only its owner reads, whole or not at all."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
