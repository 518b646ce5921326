"""What is known of the images in use, so that a step rarely asks."""

from __future__ import annotations

import time
from dataclasses import dataclass

from agent.engines.buildkit import llb
from agent.engines.buildkit.build import Build, BuildFailedError
from agent.engines.buildkit.failures import EngineError, StepNotRunError, image_problem, is_gone
from agent.engines.buildkit.images import (
    BadImageError,
    ImageConfig,
    User,
    complete_reference,
    needs_account_files,
    parse_config,
    pinned_reference,
    resolve_user,
)
from agent.engines.buildkit.registry_logins import RegistryLogins
from agent.engines.protocol import StepRequest
from pipelines_schema.contract_images import RegistryLogin
from pipelines_schema.image_references import registry_of

FRESH_SECONDS = 10.0
"""How long a tag is believed to mean the same image."""
MAX_IMAGES = 1000
RESOLVE_SECONDS = 120.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Image:
    reference: str
    """Complete, with its digest where the engine knows it."""
    config: ImageConfig
    user: User


NO_LOGINS = RegistryLogins(())
_Asked = tuple[str, RegistryLogin | None, str]
"""A complete reference, the login with which its registry is asked, and the user asked for."""


class ImageStore:
    def __init__(self) -> None:
        self._known: dict[_Asked, tuple[float, Image]] = {}

    async def find(
        self,
        build: Build,
        written: str,
        platform: llb.Platform,
        logins: RegistryLogins = NO_LOGINS,
        user: str = "",
    ) -> Image:
        """The image that a reference means now, with `user` instead of its own if that is given.

        Raises StepNotRunError, BuildFailedError.
        """
        try:
            reference = complete_reference(written)
            # What one login was shown is not shown to another.
            asked = (reference, logins.of(registry_of(reference)), user)
            since, image = self._known.get(asked, (0.0, None))
            if image is None or time.monotonic() - since > FRESH_SECONDS:
                image = await self._resolve(build, written, reference, platform, user)
                self._remember(asked, image)
            return image
        except BadImageError as error:
            message = str(error)
            shown = message if repr(written) in message else f"image {written!r}: {message}"
            raise StepNotRunError(shown) from error

    async def find_for(
        self, build: Build, request: StepRequest, platform: llb.Platform, logins: RegistryLogins
    ) -> Image:
        """The step's image, the same for all steps of its build."""
        written = request.image or ""
        if request.image_digest is not None:
            written = pinned_reference(complete_reference(written), request.image_digest)
        image = await self.find(build, written, platform, logins, request.user)
        tag, _, digest = image.reference.partition("@")
        if not digest or "@" in written or request.settle_image is None:
            return image
        settled = await request.settle_image(digest)
        if settled == digest:
            return image
        pinned = pinned_reference(tag, settled)
        return await self.find(build, pinned, platform, logins, request.user)

    def forget(self, written: str) -> None:
        """Something else is under this reference now."""
        reference = complete_reference(written)
        for asked in [asked for asked in self._known if asked[0] == reference]:
            del self._known[asked]

    def _remember(self, asked: _Asked, image: Image) -> None:
        if len(self._known) >= MAX_IMAGES:
            self._known.clear()
        self._known[asked] = (time.monotonic(), image)

    async def _resolve(
        self, build: Build, written: str, reference: str, platform: llb.Platform, asked: str
    ) -> Image:
        try:
            digest, content = await build.resolve_image(reference, timeout=RESOLVE_SECONDS)
            config = parse_config(content)
            pinned = pinned_reference(reference, digest)
            user = await self._user(build, pinned, asked or config.user, platform)
        except BuildFailedError as failure:
            if is_gone(failure.error):
                raise
            raise StepNotRunError(image_problem(written, failure.error)) from failure
        return Image(reference=pinned, config=config, user=user)

    @staticmethod
    async def _user(build: Build, reference: str, user: str, platform: llb.Platform) -> User:
        passwd = group = ""
        if needs_account_files(user):
            root = await build.solve(llb.definition(llb.image(reference, platform)))
            passwd = await _text(build, root, "/etc/passwd")
            if ":" in user:
                group = await _text(build, root, "/etc/group")
        return resolve_user(user, passwd=passwd, group=group)


async def _text(build: Build, root: str, path: str) -> str:
    try:
        return (await build.read_file(root, path)).decode(errors="replace")
    except BuildFailedError as failure:
        if _is_missing(failure.error):
            return ""
        raise


def _is_missing(error: EngineError) -> bool:
    return "no such file or directory" in error.details
