"""Images for steps where no public registry is reachable, made from the distribution's packages.

With a private engine they are pushed to the registry in its namespace, so that BuildKit can pin
them by digest; a system engine gets them by name into its own store.
"""

from __future__ import annotations

import asyncio
import json
import shutil
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from agent.engines.private.apt import (
    Release,
    archive_keyring,
    machine_release,
    machine_sources,
    other_suite,
)
from agent.engines.private.docker_api import DockerApi, docker_api
from agent.engines.private.engine import say_on_stderr, up
from agent.engines.private.errors import ImageError
from agent.engines.private.locks import locked
from agent.engines.private.packages import Say, ensure_installed, fetch_package_files
from agent.engines.private.places import EnginePlaces, engine_places
from agent.engines.private.record import EngineAddress, EngineKind
from agent.engines.private.rootfs import (
    BASE_PACKAGES,
    DOCKER_PACKAGES,
    PYTHON_PACKAGES,
    SERVICE_PACKAGES,
    build_debian,
    read_static_programs,
    write_test_archive,
)

PUBLIC_BASE = "docker.io/library/debian:bookworm"
PUBLIC_PULL_SECONDS = 90
LOCK_SECONDS = 1800
# Raised whenever the image's content changes: one built by an older recipe is built again.
BASE_RECIPE = "2"
TEST_RECIPE = "1"
SERVICES_RECIPE = "2"
PYTHONS_RECIPE = "1"
DOCKER_RECIPE = "1"
PATH_VARIABLE = "ENV PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
BASE_CHANGES = (PATH_VARIABLE, 'CMD ["bash"]')
TEST_CHANGES = (PATH_VARIABLE, "ENV IMAGE_ENV=from-image", 'CMD ["sh"]')
BUILDER_CHANGES = (*TEST_CHANGES, "USER builder", "WORKDIR /srv")

# As the images that everybody knows begin: a database of the password given, a store, a web server.
POSTGRES = (
    'printf %s "$POSTGRES_PASSWORD" >/tmp/password && cd /usr/lib/postgresql/*/bin && '
    "./initdb -D /tmp/data -U postgres --auth-host=scram-sha-256 --pwfile=/tmp/password && "
    "echo host all all all scram-sha-256 >>/tmp/data/pg_hba.conf && "
    "exec ./postgres -D /tmp/data -c listen_addresses=* -c unix_socket_directories=/tmp"
)
SERVICE_CHANGES: dict[str, tuple[str, ...]] = {
    "postgres": (PATH_VARIABLE, "USER postgres", f"CMD {json.dumps(['sh', '-c', POSTGRES])}"),
    "redis": (
        PATH_VARIABLE,
        "USER redis",
        'ENTRYPOINT ["redis-server", "--protected-mode", "no", "--save", ""]',
    ),
    "web": (PATH_VARIABLE, "WORKDIR /srv", 'CMD ["python3", "-m", "http.server", "80"]'),
}

PYTHONS = {"3.11": ("bookworm", "12"), "3.13": ("trixie", "13")}
"""Which release of Debian has which."""

BuildArchive = Callable[[Path], Awaitable[None]]


async def ensure_base_image(
    say: Say = say_on_stderr,
    *,
    address: EngineAddress | None = None,
    places: EnginePlaces | None = None,
) -> str:
    """The reference of a base image with bash, git, python3 with pip, curl and certificates.

    Built once (about 45 s), then a question to the engine. A system engine that reaches the
    public registry gets Debian's image from there. Raises: an EngineError.
    """
    places = places or engine_places()
    address = address or await up(say=say, places=places)
    release = machine_release()
    reference = _reference(address, f"{release.id}:{release.version}")

    async def build(archive: Path) -> None:
        await _build_debian_archive(archive, places, say, BASE_PACKAGES)

    async with _images_of(places, address, say) as images:
        made_here = address.kind is EngineKind.PRIVATE or await images.is_present(reference)
        if not made_here and await images.pulls(PUBLIC_BASE):
            return PUBLIC_BASE
        await images.ensure({reference: BASE_CHANGES}, BASE_RECIPE, build)
    return reference


async def ensure_test_image(
    say: Say = say_on_stderr,
    *,
    address: EngineAddress | None = None,
    places: EnginePlaces | None = None,
    bash: bool = True,
) -> str:
    """The reference of a tiny image (busybox, perhaps bash; IMAGE_ENV=from-image) for tests.

    Its variant, see `builder_variant`, runs as user `builder` (uid 1000) in /srv.
    Raises: an EngineError.
    """
    places = places or engine_places()
    address = address or await up(say=say, places=places)
    reference = _reference(address, f"{'test' if bash else 'test-busybox'}:{TEST_RECIPE}")
    wanted = {reference: TEST_CHANGES, builder_variant(reference): BUILDER_CHANGES}

    async def build(archive: Path) -> None:
        programs = archive.parent / "programs"
        await fetch_package_files(["busybox-static", "bash-static"], programs, say)
        write_test_archive(archive, await read_static_programs(programs), bash=bash)

    async with _images_of(places, address, say) as images:
        await images.ensure(wanted, TEST_RECIPE, build)
    return reference


async def ensure_service_images(
    say: Say = say_on_stderr,
    *,
    address: EngineAddress | None = None,
    places: EnginePlaces | None = None,
) -> dict[str, str]:
    """References of images for tests of services, by name: `postgres`, `redis`, `web`.

    Built once (about a minute). Raises: an EngineError.
    """
    places = places or engine_places()
    address = address or await up(say=say, places=places)
    references = {
        name: _reference(address, f"services-{name}:{SERVICES_RECIPE}") for name in SERVICE_CHANGES
    }
    wanted = {references[name]: changes for name, changes in SERVICE_CHANGES.items()}

    async def build(archive: Path) -> None:
        await _build_debian_archive(archive, places, say, SERVICE_PACKAGES)

    async with _images_of(places, address, say) as images:
        await images.ensure(wanted, SERVICES_RECIPE, build)
    return references


async def ensure_python_images(
    say: Say = say_on_stderr,
    *,
    address: EngineAddress | None = None,
    places: EnginePlaces | None = None,
) -> dict[str, str]:
    """References of images in which this project's own checks run, by the version of Python.

    Built once (about two minutes), out of the releases of Debian that have these; none on Ubuntu.
    Raises: an EngineError.
    """
    places = places or engine_places()
    address = address or await up(say=say, places=places)
    machine = machine_release()
    if machine.id != "debian":
        return {}
    made: dict[str, str] = {}
    async with _images_of(places, address, say) as images:
        for version, (codename, number) in PYTHONS.items():
            release = Release(id="debian", codename=codename, version=number)
            made[version] = _reference(address, f"python-{version}:{PYTHONS_RECIPE}")

            async def build(archive: Path, release: Release = release) -> None:
                await _build_debian_archive(archive, places, say, PYTHON_PACKAGES, release)

            await images.ensure({made[version]: BASE_CHANGES}, PYTHONS_RECIPE, build)
    return made


async def ensure_docker_image(
    say: Say = say_on_stderr,
    *,
    address: EngineAddress | None = None,
    places: EnginePlaces | None = None,
) -> str:
    """The reference of an image with Docker's daemon and client, for tests of privileged services.

    Built once (about a minute). Raises: an EngineError.
    """
    places = places or engine_places()
    address = address or await up(say=say, places=places)
    reference = _reference(address, f"docker:{DOCKER_RECIPE}")

    async def build(archive: Path) -> None:
        await _build_debian_archive(archive, places, say, DOCKER_PACKAGES)

    async with _images_of(places, address, say) as images:
        await images.ensure({reference: (PATH_VARIABLE, 'CMD ["bash"]')}, DOCKER_RECIPE, build)
    return reference


def builder_variant(reference: str) -> str:
    """The test image whose configuration has User and WorkingDir."""
    return f"{reference}-builder"


async def image_digest(reference: str, *, address: EngineAddress) -> str | None:
    """The digest (`sha256:…`) under which the reference's registry has it; None if it hasn't.

    Raises: ImageError when the engine doesn't answer.
    """
    async with docker_api(address.socket) as api:
        return await api.registry_digest(reference)


def _reference(address: EngineAddress, name: str) -> str:
    prefix = f"{address.registry}/" if address.registry else ""
    return f"{prefix}pushrod/{name}"


class _Images:
    """Making images present in one engine."""

    def __init__(
        self, api: DockerApi, address: EngineAddress, places: EnginePlaces, say: Say
    ) -> None:
        self._api = api
        self._address = address
        self._places = places
        self._say = say

    async def is_present(self, reference: str) -> bool:
        """Whether steps can use the image: in the registry, or in a system engine's store."""
        if self._address.registry is None:
            return await self._api.has_image(reference)
        return await self._api.registry_digest(reference) is not None

    async def pulls(self, reference: str) -> bool:
        """Whether the engine has the image or gets it within a bounded time; says why not."""
        if await self._api.has_image(reference):
            return True
        self._say(f"pulling {reference}")
        try:
            await self._api.pull(reference, timeout_seconds=PUBLIC_PULL_SECONDS)
        except ImageError as error:
            self._say(f"no public registry ({error.what}): making an image from packages")
            return False
        return True

    async def ensure(
        self, wanted: dict[str, tuple[str, ...]], recipe: str, build: BuildArchive
    ) -> None:
        """Make the references present, from one archive that `build` writes if it must."""
        if await self._all_made(wanted, recipe):
            return
        self._places.images.mkdir(parents=True, exist_ok=True)
        lock = self._places.images / "lock"
        async with locked(lock, timeout_seconds=LOCK_SECONDS, say=self._say):
            if not await self._all_made(wanted, recipe):
                await self._make(wanted, recipe, build)

    async def _make(
        self, wanted: dict[str, tuple[str, ...]], recipe: str, build: BuildArchive
    ) -> None:
        await asyncio.to_thread(self._remove_leftovers)
        scratch = Path(tempfile.mkdtemp(prefix=".build-", dir=self._places.images))
        try:
            archive = scratch / "rootfs.tar"
            self._say(f"making the image {next(iter(wanted))}")
            await build(archive)
            for reference, changes in wanted.items():
                await self._api.import_archive(archive, reference, changes)
                if self._address.registry is not None:
                    await self._api.push(reference)
                self._marker(reference).write_text(recipe)
        finally:
            await asyncio.to_thread(shutil.rmtree, scratch, ignore_errors=True)

    async def _all_made(self, wanted: dict[str, tuple[str, ...]], recipe: str) -> bool:
        for reference in wanted:
            if not self._is_marked(reference, recipe) or not await self.is_present(reference):
                return False
        return True

    def _is_marked(self, reference: str, recipe: str) -> bool:
        marker = self._marker(reference)
        return marker.exists() and marker.read_text() == recipe

    def _marker(self, reference: str) -> Path:
        return self._places.images / f"{reference.replace('/', '_').replace(':', '_')}.recipe"

    def _remove_leftovers(self) -> None:
        for leftover in self._places.images.glob(".build-*"):
            shutil.rmtree(leftover, ignore_errors=True)


@asynccontextmanager
async def _images_of(
    places: EnginePlaces, address: EngineAddress, say: Say
) -> AsyncIterator[_Images]:
    async with docker_api(address.socket) as api:
        yield _Images(api, address, places, say)


async def _build_debian_archive(
    archive: Path,
    places: EnginePlaces,
    say: Say,
    packages: Sequence[str],
    release: Release | None = None,
) -> None:
    """Of the machine's own release, or of another that its mirror has."""
    program = await ensure_installed("mmdebstrap", "mmdebstrap", places.packages, say)
    machine = machine_release()
    sources = await machine_sources(machine)
    if release not in (None, machine):
        sources = other_suite(sources, release.codename)
    release = release or machine
    say(f"building an image from {sources[0].uri} (about a minute)")
    keyring = archive_keyring(release)
    await build_debian(
        archive,
        program=program,
        release=release,
        sources=sources,
        keyring=keyring,
        packages=packages,
    )
