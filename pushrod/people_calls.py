"""The calls of the HTTP API for users, their passwords and tokens."""

from __future__ import annotations

from collections.abc import Mapping

from pushrod.transport import Json, Transport, quoted


class PeopleCalls(Transport):
    """A method per call; each raises a CommandError."""

    async def tokens(self) -> list[Json]:
        return await self.list_at("/api/tokens")

    async def create_token(
        self,
        name: str,
        kind: str,
        *,
        role: str | None = None,
        account: str | None = None,
        all_accounts: bool = False,
        expires_in_days: int | None = None,
    ) -> Json:
        body = {
            "name": name,
            "kind": kind,
            "role": role,
            "account": account,
            "allAccounts": all_accounts or None,
            "expiresInDays": expires_in_days,
        }
        return await self.object_at("POST", "/api/tokens", body=body)

    async def revoke_token(self, token_id: str) -> None:
        await self.request("DELETE", f"/api/tokens/{quoted(token_id)}")

    async def users(self) -> list[Json]:
        return await self.list_at("/api/users")

    async def create_user(
        self, email: str, password: str, *, administrator: bool, roles: Mapping[str, str]
    ) -> Json:
        body = {
            "email": email,
            "password": password,
            "administrator": administrator,
            "roles": dict(roles),
        }
        return await self.object_at("POST", "/api/users", body=body)

    async def disable_user(self, user: str, *, disabled: bool) -> None:
        await self.request("PATCH", f"/api/users/{quoted(user)}", body={"disabled": disabled})

    async def set_password(self, user: str, password: str) -> None:
        body = {"password": password}
        await self.request("PUT", f"/api/users/{quoted(user)}/password", body=body)

    async def set_role(self, user: str, account: str, role: str | None) -> None:
        """None ends the membership."""
        path = f"/api/users/{quoted(user)}/memberships/{quoted(account)}"
        if role is None:
            await self.request("DELETE", path)
        else:
            await self.request("PUT", path, body={"role": role})

    async def rotate_keys(self, *, end_logins: bool) -> None:
        await self.request("POST", "/api/signing-keys", body={"endLogins": end_logins})
