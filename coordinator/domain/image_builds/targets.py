"""Where deployments run: a target turns one into the step that lives as long as it does."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from pipelines_schema import Step as WorkflowStep

FOR_EVER_SECONDS = 10 * 365 * 24 * 60 * 60


@dataclass(frozen=True, slots=True, kw_only=True)
class Deployable:
    step_name: str
    """The name that the step must have."""
    name: str
    """Of the deployment: letters, digits, `.`, `-`, `_`."""
    image: str
    depends_on: Sequence[str] = ()
    """The step that builds the image, where one does."""
    env: Mapping[str, str] = field(default_factory=dict)
    secrets: Sequence[str] = ()


class DeployTarget(Protocol):
    """Others than ours are found by the entry point group `pushrod.deploy_targets`."""

    def program(self, wanted: Deployable) -> WorkflowStep:
        """A step that runs until the deployment is stopped, which kills it.

        With an empty script it is the image's own command. It starts again when its agent is lost.
        """


@dataclass(frozen=True, slots=True)
class LabelledAgents:
    """The image as a container on an agent that is labelled for deployments."""

    labels: Mapping[str, str] = field(default_factory=lambda: {"deploy": "true"})

    def program(self, wanted: Deployable) -> WorkflowStep:
        return WorkflowStep(
            name=wanted.step_name,
            image=wanted.image,
            script="",
            depends_on=tuple(wanted.depends_on),
            agents=dict(self.labels),
            timeout_seconds=FOR_EVER_SECONDS,
            env=dict(wanted.env),
            secrets=tuple(wanted.secrets),
        )
