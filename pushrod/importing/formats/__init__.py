"""The formats that there are, one module each."""

from __future__ import annotations

from collections.abc import Sequence

from pushrod.importing.formats.bitbucket.pipelines import Bitbucket
from pushrod.importing.formats.buildkite.pipeline import Buildkite
from pushrod.importing.formats.containers.drone import Drone
from pushrod.importing.formats.containers.woodpecker import Woodpecker
from pushrod.importing.formats.github.workflow import GitHub
from pushrod.importing.formats.gitlab.workflow import GitLab
from pushrod.importing.sources import Format

FORMATS: Sequence[Format] = (
    *(GitHub(), GitLab(), Woodpecker()),
    *(Drone(), Bitbucket(), Buildkite()),
)
