"""A bench that builds images on a real engine."""

from __future__ import annotations

import secrets
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from agent.engines.buildkit.engine import BuildKitEngine
from agent.engines.protocol import ImageRequest, SettleTag, StepResult
from pipelines_schema.contract_images import ImageBuildSpec, RegistryLogin
from pipelines_schema.own_registries import OwnRegistries

from .conftest import FolderSource, Log, TestEngine


@dataclass(frozen=True, slots=True, kw_only=True)
class BuiltOnce:
    result: StepResult
    log: Log
    seconds: float

    @property
    def text(self) -> str:
        return b"".join(data for _, _, data in self.log.pieces).decode()

    @property
    def message(self) -> str:
        return self.result.message or ""


@dataclass(slots=True, kw_only=True)
class ImageBench:
    engine: BuildKitEngine
    image: str
    """What Dockerfiles begin with."""
    folder: Path

    def write(self, files: Mapping[str, str]) -> None:
        """BASE stands for the image; `RUN NEW` begins a command that no cache can have."""
        for name, text in files.items():
            path = self.folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            new = f"RUN : {secrets.token_hex(6)};"
            path.write_text(text.replace("BASE", self.image).replace("RUN NEW", new))

    async def build(
        self,
        text: str | None = None,
        *,
        log: Log | None = None,
        registries: Sequence[RegistryLogin] = (),
        own_registries: OwnRegistries | None = None,
        settle_tag: SettleTag | None = None,
        secrets_given: Mapping[str, str] | None = None,
        offline: bool = False,
        clean: bool = False,
        timeout_seconds: float = 120,
        inputs: Path | None = None,
        attempt_id: str = "",
        **build: Any,
    ) -> BuiltOnce:
        if text is not None:
            self.write({"Dockerfile": text})
        log = log or Log()
        began = time.monotonic()
        result = await self.engine.build_image(
            ImageRequest(
                attempt_id=attempt_id or secrets.token_hex(8),
                step_name="image",
                build=ImageBuildSpec(**build),
                registries=registries,
                own_registries=own_registries,
                settle_tag=settle_tag,
                secrets=secrets_given or {},
                offline=offline,
                clean=clean,
                timeout_seconds=timeout_seconds,
                source=FolderSource(folder=self.folder, key=self.folder.name),
                inputs=inputs,
            ),
            log,
        )
        return BuiltOnce(result=result, log=log, seconds=time.monotonic() - began)


@asynccontextmanager
async def image_bench(
    engine: TestEngine, folder: Path, authorities: str = "", platforms: Sequence[str] = ()
) -> AsyncIterator[ImageBench]:
    made = BuildKitEngine(
        engine.address, data_dir=folder / "data", authorities=authorities, platforms=platforms
    )
    (context := folder / secrets.token_hex(6)).mkdir()
    try:
        yield ImageBench(engine=made, image=engine.image, folder=context)
    finally:
        await made.close()
