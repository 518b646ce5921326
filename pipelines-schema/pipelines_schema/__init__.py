"""pushrod's workflow language, and the wire contract between coordinator and agents."""

from pipelines_schema.dag import (
    CycleFound,
    find_cycles,
    initial_ready,
    topological_order,
    transitive_dependants,
    transitive_dependencies,
    unblocked_by,
)
from pipelines_schema.expressions import VARIABLES
from pipelines_schema.parse import Parsed, parse_workflow, workflow_from_json
from pipelines_schema.paths import BadPath, normalised_cache_dir, normalised_output_path
from pipelines_schema.problem import Problem
from pipelines_schema.triggers import triggered_by_pull_request, triggered_by_push
from pipelines_schema.workflow import (
    PullRequestTrigger,
    PushTrigger,
    Retries,
    RetryCause,
    Step,
    Triggers,
    UnreadableWorkflow,
    Workflow,
    step_environment,
)

__all__ = [
    "VARIABLES",
    "BadPath",
    "CycleFound",
    "Parsed",
    "Problem",
    "PullRequestTrigger",
    "PushTrigger",
    "Retries",
    "RetryCause",
    "Step",
    "Triggers",
    "UnreadableWorkflow",
    "Workflow",
    "find_cycles",
    "initial_ready",
    "normalised_cache_dir",
    "normalised_output_path",
    "parse_workflow",
    "step_environment",
    "topological_order",
    "transitive_dependants",
    "transitive_dependencies",
    "triggered_by_pull_request",
    "triggered_by_push",
    "unblocked_by",
    "workflow_from_json",
]
