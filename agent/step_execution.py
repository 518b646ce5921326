"""What an attempt does between its beginning and its end: source, inputs, script or image.

It knows nothing of leases, of the journal's records and of who is told.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Sequence

from agent.artifact_errors import ArtifactError
from agent.carried import in_thread
from agent.coordinator_errors import CallRefusedError, StaleLeaseError
from agent.dependencies import fetch_artifacts
from agent.engines.end_request import EndRequest
from agent.engines.protocol import (
    CacheMount,
    EngineUnavailable,
    Outcome,
    OutputSink,
    StepResult,
    TagNotSettledError,
)
from agent.journal_entries import Entry, Report
from agent.lease import Term
from agent.log_shipper import LogSpool
from agent.masking import MaskingSink
from agent.retries import keep_trying
from agent.source_trees import SourceError
from agent.sources import LentSource
from agent.step_parts import StepParts
from agent.step_reports import failure, report_of, with_values, without_secrets
from agent.step_requests import confidential, image_request_of, request_of
from agent.workshop import Workshop
from pipelines_schema.contract import CompletionReason, StepSpec
from pipelines_schema.log_frames import Stream

logger = logging.getLogger(__name__)

BYPASSED = b"cache: bypassed (clean build)\n"
"""First line of the log of a step that would have used caches."""


class SourceTooLate(Exception):
    """The step's time was over before its source was here."""


class StepExecution:
    """`run` once. Cancelling the task that runs it kills the script first; `end` asks a script that
    runs to end by itself."""

    def __init__(
        self, *, workshop: Workshop, entry: Entry, term: Term | None, spool: LogSpool
    ) -> None:
        self._workshop = workshop
        self._entry = entry
        self._term = term
        self._spool = spool
        self.end = EndRequest()

    async def run(self) -> Report:
        """How it ended. Raises StaleLeaseError."""
        report = without_secrets(await self._run(), confidential(self._entry.spec))
        if report.reason is CompletionReason.SOURCE:  # the next attempt's words take its place
            logger.info("attempt %s failed: %s", self._entry.attempt_id, report.message)
        return report

    async def _run(self) -> Report:
        spec = self._entry.spec
        workshop = self._workshop
        spans = workshop.spans(spec)
        gone = [name for name in spec.secret_names if name not in spec.secrets]
        if gone:
            names = ", ".join(gone)
            message = f"The project has no secret {names} any more: `pushrod secret set` it again."
            return failure(CompletionReason.SECRETS, message)
        if spec.refused is not None:
            return failure(spec.refused_for, spec.refused)
        try:
            async with contextlib.AsyncExitStack() as resources:
                with spans.of("source"):
                    source = await self._lent_source(spec)
                if source is not None:
                    resources.callback(source.release)
                inputs = self._entry.inputs
                with spans.of("inputs"):
                    written = source.written_ns if source else None
                    await fetch_artifacts(workshop.client, spec, inputs, workshop.kept, written)
                with spans.of("run"):
                    result = await self._run_in_engine(spec, source)
                if result.outcome is Outcome.ENGINE_LOST:
                    workshop.engine_lost()
                return with_values(report_of(result), result.values, confidential(spec))
        except SourceTooLate as error:
            return failure(CompletionReason.TIMEOUT, str(error))
        except (SourceError, ArtifactError) as error:
            return workshop.report_lacking(error) or failure(CompletionReason.SOURCE, str(error))
        except EngineUnavailable as error:
            return failure(CompletionReason.ENGINE, str(error))
        except StaleLeaseError:
            raise
        except Exception as error:
            if lacking := workshop.report_lacking(error):
                return lacking
            logger.exception("attempt %s failed in the agent", self._entry.attempt_id)
            return failure(CompletionReason.ENGINE, f"The agent failed: {error!r}")

    async def _run_in_engine(self, spec: StepSpec, source: LentSource | None) -> StepResult:
        if spec.clean and (spec.cache_dirs or spec.build):
            self._spool.write(Stream.STDOUT, BYPASSED)
        hidden = confidential(spec)
        if not hidden:
            return await self._ask_engine(spec, source, self._spool)
        output = MaskingSink(self._spool, hidden)
        try:
            return await self._ask_engine(spec, source, output)
        finally:
            output.end()

    async def _ask_engine(
        self, spec: StepSpec, source: LentSource | None, output: OutputSink
    ) -> StepResult:
        engine = self._workshop.engine
        if spec.build is None:
            return await self._run_script(spec, source, output)
        request = image_request_of(self._entry, spec.build, source, self._settle_tag)
        return await engine.build_image(request, output)

    async def _run_script(
        self, spec: StepSpec, source: LentSource | None, output: OutputSink
    ) -> StepResult:
        keys = self._workshop.cache_keys
        mounts = await self._cache_mounts(spec, source)
        wanted = request_of(
            self._entry,
            source,
            self._term,
            self._settle_image,
            self.end,
            mounts,
            self._settle_tag,
            self._tell_healthy,
        )
        result = await self._workshop.engine.run(wanted, output)
        if result.exit_code == 0 and _has_keys(spec):
            await in_thread(keys.succeeded, spec.cache_dirs, mounts)
        return result

    async def _cache_mounts(
        self, spec: StepSpec, source: LentSource | None
    ) -> Sequence[CacheMount]:
        keys = self._workshop.cache_keys
        if source is None or not _has_keys(spec):
            return keys.mounts(spec.cache_dirs, None)
        async with source.open() as folder:
            return await in_thread(keys.mounts, spec.cache_dirs, folder)

    async def _settle_tag(self, tag: str, digest: str) -> str:
        """Raises TagNotSettledError, StaleLeaseError, CredentialRefusedError."""
        try:
            return await self._settle_image(digest, tag)
        except CallRefusedError as error:
            raise TagNotSettledError(error.message) from error

    async def _settle_image(self, digest: str, tag: str | None = None) -> str:
        """Ask for as long as it takes: the lease ends it. Raises CallRefusedError, StaleLeaseError,
        CredentialRefusedError."""
        answer = await keep_trying(
            lambda: self._workshop.client.settle_image(self._entry.spec, digest, tag),
            lambda error: logger.info("settling an image of %s: %s", self._entry.attempt_id, error),
        )
        return answer.digest

    async def _tell_healthy(self) -> None:
        """Raises CallRefusedError, StaleLeaseError, CredentialRefusedError."""
        await keep_trying(
            lambda: self._workshop.client.tell_healthy(self._entry.spec),
            lambda error: logger.info("telling of %s: %s", self._entry.attempt_id, error),
        )

    async def _lent_source(self, spec: StepSpec) -> LentSource | None:
        """Raises SourceError, SourceTooLate."""
        if spec.source is None:
            return None
        parts = StepParts(
            self._workshop.client,
            spec,
            lambda line: self._spool.write(Stream.STDOUT, f"{line}\n".encode()),
        )
        try:
            async with asyncio.timeout(spec.timeout_seconds) as limit:
                return await self._workshop.sources.prepare(
                    spec.project_id, spec.source, spec.token, parts
                )
        except TimeoutError as error:
            if not limit.expired():
                raise
            raise SourceTooLate(
                f"The source was not here after {spec.timeout_seconds:g} s, the step's timeout."
            ) from error


def _has_keys(spec: StepSpec) -> bool:
    return any(cache.key for cache in spec.cache_dirs)
