"""An agent with the engine that its options name; engines are imported only when used."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from pathlib import Path

from agent.engines.authorities import BadAuthoritiesError, bundle
from agent.engines.protocol import Engine, EngineUnavailable
from agent.settings import KEEP_DAYS, MIN_FREE_BYTES, AgentSettings, InvalidSettingsError
from agent.worker import Agent
from pipelines_schema.spans import Emit


async def create_agent(
    *,
    url: str,
    token: str,
    data_dir: Path,
    name: str,
    slots: int = 1,
    max_steps: int | None = None,
    labels: Mapping[str, str] | None = None,
    engine: str = "auto",
    host_user_ids: range | None = None,
    ca_file: Path | None = None,
    platforms: Sequence[str] = (),
    by_itself: bool = True,
    socket: Path | None = None,
    repositories: Path | None = None,
    lasting_dir: Path | None = None,
    min_free_bytes: int = MIN_FREE_BYTES,
    keep_days: int = KEEP_DAYS,
    allow_privileged: bool = False,
    emit: Emit | None = None,
) -> Agent:
    """An agent with the engine of that name: `auto`, `host`, `buildkit` or a BuildKit address.

    `auto` is a BuildKit, brought up if need be, and never the host: scripts get the agent's rights
    only where somebody asked for it. Raises EngineUnavailable, InvalidSettingsError.
    """
    settings = AgentSettings(
        url=url,
        token=token,
        data_dir=data_dir,
        name=name,
        slots=slots,
        max_steps=max_steps,
        labels=labels or {},
        by_itself=by_itself,
        socket=socket,
        repositories=repositories,
        lasting_dir=lasting_dir,
        min_free_bytes=min_free_bytes,
        engine_dir=engine_folder(engine),
        keep_days=keep_days,
    )
    revive = revive_private_engine if engine in ("auto", "buildkit") else None
    kept_in = lasting_dir or data_dir
    opened = await open_engine(
        engine,
        kept_in,
        host_user_ids,
        ca_file,
        platforms,
        keep_days,
        allow_privileged=allow_privileged,
    )
    return Agent(settings, opened, revive_engine=revive, emit=emit)


def engine_folder(name: str) -> Path | None:
    """Where that engine writes, as far as it is on this machine; None where nobody knows."""
    if name == "host":
        from agent.engines.work_folder import ROOT_WORK_FOLDER

        return ROOT_WORK_FOLDER
    from agent.engines.private import engine_places

    places = engine_places()
    return places.data if name in ("auto", "buildkit", f"unix://{places.socket}") else None


async def revive_private_engine() -> None:
    """Bring the machine's own engine up again. Raises EngineUnavailable."""
    from agent.engines.private import EngineError, up

    try:
        await up()
    except EngineError as error:
        raise EngineUnavailable(str(error)) from error


async def open_engine(
    name: str,
    data_dir: Path,
    host_user_ids: range | None = None,
    ca_file: Path | None = None,
    platforms: Sequence[str] = (),
    keep_days: int = KEEP_DAYS,
    *,
    allow_privileged: bool = False,
) -> Engine:
    """The engine of that name; each is imported only when used. `platforms`: it builds images as if
    it ran the programs of these alone. `allow_privileged`: steps may have all rights over its
    machine.

    Raises EngineUnavailable; InvalidSettingsError for a name that no engine has, and for a
    `ca_file` that holds no certificates.
    """
    try:
        authorities = await asyncio.to_thread(bundle, ca_file) if ca_file else ""
    except BadAuthoritiesError as error:
        raise InvalidSettingsError(str(error)) from error
    if name == "host":
        if allow_privileged:
            raise InvalidSettingsError(
                "allow_privileged: the host engine runs no containers whose rights could be "
                "raised; use it with --engine buildkit"
            )
        from agent.engines.host import HostEngine
        from agent.engines.user_ids import DEFAULT_USER_IDS

        user_ids = host_user_ids or DEFAULT_USER_IDS
        return HostEngine(
            data_dir=data_dir, user_ids=user_ids, authorities=authorities, keep_days=keep_days
        )
    from agent.engines.buildkit.engine import BuildKitEngine

    if name in ("auto", "buildkit"):
        from agent.engines.private import EngineError, EngineKind, up

        try:
            address = await up()
        except EngineError as error:
            raise EngineUnavailable(str(error)) from error
        return BuildKitEngine(
            address.url,
            data_dir=data_dir,
            log_limits_lifted=address.kind is EngineKind.PRIVATE,
            authorities=authorities,
            platforms=platforms,
            allow_privileged=allow_privileged,
        )
    if "://" in name:
        from agent.engines.private import engine_places

        own = f"unix://{engine_places().socket}"
        return BuildKitEngine(
            name,
            data_dir=data_dir,
            log_limits_lifted=name == own,
            authorities=authorities,
            platforms=platforms,
            allow_privileged=allow_privileged,
        )
    raise InvalidSettingsError(
        f"there is no engine {name!r}: use auto, host, buildkit, or an address such as "
        "unix:///run/docker.sock or tcp://host:1234"
    )
