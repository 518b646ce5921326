"""pushrod's workflow language, and the wire contract between coordinator and agents."""

from pipelines_schema.build_triggers import BuildTrigger
from pipelines_schema.cache_folders import CacheFolder, CacheScope
from pipelines_schema.conditions import (
    Circumstances,
    Condition,
    ConditionFault,
    Watch,
    holds,
    unwatched,
)
from pipelines_schema.cron import CronFault, next_firing
from pipelines_schema.dag import (
    CycleFound,
    find_cycles,
    topological_order,
    transitive_dependencies,
)
from pipelines_schema.expressions import VARIABLES, substituted
from pipelines_schema.gates import Approver, Gate
from pipelines_schema.image_build import ImageBuild
from pipelines_schema.includes import Include, Included, IncludedFile, PinnedInclude
from pipelines_schema.matrix import Matrix, expanded_steps
from pipelines_schema.modules import DEFAULT_TARGET, MODULE_FILES, Module, Target, steps_for
from pipelines_schema.notify import Notify, Occasion, email_problem
from pipelines_schema.older_steps import Generator, OlderStep
from pipelines_schema.params import (
    Param,
    default_params,
    param_problems,
    undeclared_param_problems,
)
from pipelines_schema.parse import (
    Parsed,
    ParsedModules,
    parse_generated,
    parse_modules,
    parse_workflow,
    workflow_from_json,
)
from pipelines_schema.paths import BadPath, normalised_cache_dir, normalised_output_path
from pipelines_schema.problem import Place, Problem
from pipelines_schema.read_environment import secret_name_problem
from pipelines_schema.read_image import can_be_named
from pipelines_schema.schedules import ScheduleTrigger
from pipelines_schema.services import Readiness, Service
from pipelines_schema.step_groups import StepGroup
from pipelines_schema.step_reports import StepReports
from pipelines_schema.trigger_types import PullRequestTrigger, PushTrigger, Triggers
from pipelines_schema.triggers import (
    PullRequestFacts,
    asks_to_skip,
    triggered_by_pull_request,
    triggered_by_push,
    triggered_by_tag,
)
from pipelines_schema.workflow import (
    DEFAULT_RETRIES,
    DEFAULT_RUN_ON,
    NEVER,
    Concurrency,
    Ending,
    Network,
    Retries,
    RetryCause,
    Step,
    UnreadableWorkflow,
    Workflow,
    step_environment,
)

__all__ = [
    "DEFAULT_RETRIES",
    "DEFAULT_RUN_ON",
    "DEFAULT_TARGET",
    "MODULE_FILES",
    "NEVER",
    "VARIABLES",
    "Approver",
    "BadPath",
    "BuildTrigger",
    "CacheFolder",
    "CacheScope",
    "Circumstances",
    "Concurrency",
    "Condition",
    "ConditionFault",
    "CronFault",
    "CycleFound",
    "Ending",
    "Gate",
    "Generator",
    "ImageBuild",
    "Include",
    "Included",
    "IncludedFile",
    "Matrix",
    "Module",
    "Network",
    "Notify",
    "Occasion",
    "OlderStep",
    "Param",
    "Parsed",
    "ParsedModules",
    "PinnedInclude",
    "Place",
    "Problem",
    "PullRequestFacts",
    "PullRequestTrigger",
    "PushTrigger",
    "Readiness",
    "Retries",
    "RetryCause",
    "ScheduleTrigger",
    "Service",
    "Step",
    "StepGroup",
    "StepReports",
    "Target",
    "Triggers",
    "UnreadableWorkflow",
    "Watch",
    "Workflow",
    "asks_to_skip",
    "can_be_named",
    "default_params",
    "email_problem",
    "expanded_steps",
    "find_cycles",
    "holds",
    "next_firing",
    "normalised_cache_dir",
    "normalised_output_path",
    "param_problems",
    "parse_generated",
    "parse_modules",
    "parse_workflow",
    "secret_name_problem",
    "step_environment",
    "steps_for",
    "substituted",
    "topological_order",
    "transitive_dependencies",
    "triggered_by_pull_request",
    "triggered_by_push",
    "triggered_by_tag",
    "undeclared_param_problems",
    "unwatched",
    "workflow_from_json",
]
