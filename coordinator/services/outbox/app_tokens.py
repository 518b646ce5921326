"""By which a GitHub App is known: a JSON Web Token that its key signs. Pure but for the library."""

from __future__ import annotations

from datetime import datetime, timedelta

from coordinator.domain.errors import Invalid
from coordinator.domain.outbox.forge_place import AppKey

ALGORITHM = "RS256"
SIGNED_FOR = timedelta(minutes=9)
"""Of ten at most; the clocks may differ by one."""


def signed_token(app: AppKey, now: datetime) -> str:
    """By which the App itself is known. Raises Invalid for a key that signs nothing."""
    from joserfc import jwt
    from joserfc.errors import JoseError
    from joserfc.jwk import RSAKey

    claims = {
        "iat": int(now.timestamp()) - 60,
        "exp": int((now + SIGNED_FOR).timestamp()),
        "iss": str(app.id),
    }
    try:
        key = RSAKey.import_key(app.key)
        return jwt.encode({"alg": ALGORITHM}, claims, key, algorithms=[ALGORITHM])
    except (JoseError, ValueError, TypeError) as error:
        raise Invalid(
            "the App's key must be the private key (RSA, PEM) that GitHub gave"
        ) from error
