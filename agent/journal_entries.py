"""What the journal keeps of an attempt, as values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from pathlib import Path
from typing import Any

from pipelines_schema.contract import Completion, CompletionReason, LeaseRef, StepSpec
from pipelines_schema.contract_images import BuiltImage

MAX_MESSAGE_CHARACTERS = 4096
"""The contract's limit for a completion's message."""
SPOOL_SUFFIX = ".log"


class Phase(StrEnum):
    ACCEPTED = "accepted"
    """The script may be running: after a restart it is not, and the attempt is lost."""
    ENDED = "ended"
    """The script has ended and its log and outputs are on disk: what is left is to report."""
    STORED = "stored"
    """The artifacts are at the coordinator too."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """How an attempt ended, as the coordinator is to be told."""

    status: Completion
    exit_code: int | None = None
    reason: CompletionReason | None = None
    message: str | None = None
    images: Sequence[BuiltImage] = ()
    parts: Sequence[str] = ()
    """Platforms for which the image is to be built in parts instead."""
    image_digest: str | None = None
    """Of the image that the script ran in."""
    values: Mapping[str, str] = field(default_factory=dict)
    """What the script hands on to those that depend on its step."""

    @property
    def message_to_send(self) -> str | None:
        """The message within the contract's limit, saying so if it had to be cut."""
        if self.message is None or len(self.message) <= MAX_MESSAGE_CHARACTERS:
            return self.message
        tail = f"\n… ({len(self.message)} characters in all; the rest is in the agent's log)"
        return self.message[: MAX_MESSAGE_CHARACTERS - len(tail)] + tail

    def to_json(self) -> dict[str, Any]:
        return {
            "status": self.status,
            "exitCode": self.exit_code,
            "reason": self.reason,
            "message": self.message,
            "images": [image.to_json() for image in self.images],
            "parts": list(self.parts),
            "imageDigest": self.image_digest,
            "values": dict(self.values),
        }

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> Report:
        """Raises KeyError or ValueError if it is not a report."""
        reason = value["reason"]
        return cls(
            status=Completion(value["status"]),
            exit_code=value["exitCode"],
            reason=None if reason is None else CompletionReason(reason),
            message=value["message"],
            images=tuple(map(BuiltImage.model_validate, value.get("images", ()))),
            parts=tuple(value.get("parts", ())),
            image_digest=value.get("imageDigest"),
            values=value.get("values", {}),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class LogMark:
    """The whole log of an ended script, to know a spool that a disk has damaged."""

    text_bytes: int
    sha256: str

    def to_json(self) -> dict[str, Any]:
        return {"textBytes": self.text_bytes, "sha256": self.sha256}

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> LogMark:
        """Raises KeyError or TypeError if it is not one."""
        return cls(text_bytes=value["textBytes"], sha256=value["sha256"])


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """An attempt as the journal has it. `report` is there from ENDED on."""

    folder: Path
    """For inputs and outputs; made when there are some."""
    spec: StepSpec
    phase: Phase
    report: Report | None = None
    log: LogMark | None = None
    """None before ENDED, or where an older agent wrote the entry."""

    @property
    def lease(self) -> LeaseRef:
        return LeaseRef(step_id=self.spec.step_id, epoch=self.spec.epoch)

    @property
    def attempt_id(self) -> str:
        return self.folder.name

    @property
    def spool(self) -> Path:
        """Beside the folder, which most attempts do without."""
        return self.folder.with_name(f"{self.attempt_id}{SPOOL_SUFFIX}")

    @property
    def inputs(self) -> Path:
        return self.folder / "inputs"

    @property
    def outputs(self) -> Path:
        return self.folder / "outputs"

    @property
    def scratch(self) -> Path:
        return self.folder / "scratch"

    def with_report(self, report: Report, phase: Phase) -> Entry:
        return replace(self, report=report, phase=phase)
