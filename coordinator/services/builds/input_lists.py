"""The commit's files that the steps of a workflow name as `inputs`, looked at before the
transaction that saves the build."""

from __future__ import annotations

import json
import zlib
from collections.abc import Mapping

from coordinator.domain.model import Project
from coordinator.domain.steps.reuse import digest_of
from coordinator.ports import TooManyFiles
from coordinator.services.builds.drafts import InputList, Lists, Origin
from coordinator.services.core import Core
from pipelines_schema import Workflow


async def input_lists(core: Core, project: Project, workflow: Workflow, origin: Origin) -> Lists:
    wanted = list(dict.fromkeys(s.inputs for s in workflow.steps if s.inputs is not None))
    if not wanted:
        return {}
    if origin.commit_hash is None:
        return dict.fromkeys(wanted, packed_list({}))
    try:
        found = await core.repositories.input_files(project.id, origin.commit_hash, wanted)
    except (LookupError, TooManyFiles):
        return {}
    return {patterns: packed_list(files) for patterns, files in zip(wanted, found, strict=True)}


def packed_list(files: Mapping[str, str]) -> InputList:
    """`files`: path → mode and id."""
    text = json.dumps(files, sort_keys=True, separators=(",", ":"))
    return InputList(digest=digest_of(files), packed=zlib.compress(text.encode(), 1))
