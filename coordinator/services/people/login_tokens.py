"""The token that a login gives: a JSON Web Token (RFC 7519), signed with HMAC-SHA-256.

Only the coordinator that signed it reads it, so a symmetric key is enough. Pure but for the
library, which is loaded when the first person logs in.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

ALGORITHM = "HS256"
AUDIENCE = "pushrod"


@dataclass(frozen=True, slots=True, kw_only=True)
class Claims:
    issuer: str
    user_id: str
    generation: int
    """Of the user, when this was issued."""
    issued_at: datetime
    expires_at: datetime
    id: str


def write_login_token(claims: Claims, key_id: str, key: bytes) -> str:
    from joserfc import jwt
    from joserfc.jwk import OctKey

    payload = {
        "iss": claims.issuer,
        "aud": AUDIENCE,
        "sub": claims.user_id,
        "iat": int(claims.issued_at.timestamp()),
        "exp": int(claims.expires_at.timestamp()),
        "jti": claims.id,
        "gen": claims.generation,
    }
    header = {"alg": ALGORITHM, "kid": key_id, "typ": "JWT"}
    return jwt.encode(header, payload, OctKey.import_key(key), algorithms=[ALGORITHM])


def read_login_token(
    token: str, keys: Mapping[str, bytes], issuer: str, now: datetime
) -> Claims | None:
    """None where it is not ours, was signed with no key of these, or has expired."""
    from joserfc import jwt
    from joserfc.errors import JoseError
    from joserfc.jwk import GuestProtocol, OctKey

    def key_of(guest: GuestProtocol) -> OctKey:
        return OctKey.import_key(keys[str(guest.headers()["kid"])])

    rules = jwt.JWTClaimsRegistry(
        now=int(now.timestamp()),
        iss={"essential": True, "value": issuer},
        aud={"essential": True, "value": AUDIENCE},
        sub={"essential": True},
        exp={"essential": True},
    )
    try:
        claims = jwt.decode(token, key_of, algorithms=[ALGORITHM]).claims
        rules.validate(claims)
        return Claims(
            issuer=issuer,
            user_id=str(claims["sub"]),
            generation=int(claims["gen"]),
            issued_at=datetime.fromtimestamp(claims["iat"], UTC),
            expires_at=datetime.fromtimestamp(claims["exp"], UTC),
            id=str(claims["jti"]),
        )
    except (JoseError, ValueError, LookupError, TypeError, AttributeError, RecursionError):
        # Whatever stands in a token that is not ours is no error of ours.
        return None
