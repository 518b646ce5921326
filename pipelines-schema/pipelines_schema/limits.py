"""The bounds of the workflow language: one definition for the parser and the JSON Schema."""

from __future__ import annotations

import re

MAX_FILE_BYTES = 1024 * 1024
MAX_NODES = 20_000
"""Nodes of a document with every alias written out, so that a bomb is refused unexploded."""
MAX_DEPTH = 50
MAX_EXPANDED_CHARACTERS = 4 * 1024 * 1024
"""Text of a document with every alias written out: one long script may be shared, not a thousand
times."""
MAX_REUSED_NODES = 100_000
"""Nodes of all steps that take something from templates or defaults, with that written out."""
MAX_INCLUDES = 20
MAX_INCLUDED_BYTES = 1024 * 1024
"""Of all included files of a workflow."""
MAX_PROBLEMS = 100
"""Listed problems of one file; one more says that the list was cut."""

MAX_NAME_CHARACTERS = 100
MAX_STEPS = 500
MAX_GENERATIONS = 3
"""Steps that generated steps generate, and so on."""
MAX_IMAGE_CHARACTERS = 500
MAX_SCRIPT_BYTES = 512 * 1024
MAX_ENVIRONMENT_ENTRY_BYTES = 128 * 1024 - 1
"""`NAME=value` without its closing NUL: what Linux lets one string of an environment be."""
MAX_PATH_BYTES = 1000
MAX_PATHS = 100
MAX_REPORT_PATHS = 20
"""Of one kind of report."""
MAX_CONDITION_CHARACTERS = 1000
MAX_STEP_SECRETS = 50
MAX_SERVICES = 20
"""Of one step."""
SERVICE_NAME = "[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
"""A label of the DNS."""
MAX_COMMAND_WORDS = 100
MAX_WORD_CHARACTERS = 10_000
"""Of a service's command, all words together."""
DEFAULT_READY_SECONDS = 60
MAX_READY_SECONDS = 30 * 60
MIN_MEMORY_BYTES = 4 * 1024**2
MAX_MEMORY_BYTES = 16 * 1024**4
MIN_CPUS = 0.01
MAX_CPUS = 1024
MEMORY = "[0-9]{1,9}(?:\\.[0-9]{1,3})?(?:KiB|MiB|GiB|TiB)"
MAX_PARAMS = 50
MAX_SCHEDULES = 20
"""Of one workflow."""
MAX_BUILD_TRIGGERS = 20
"""Of one workflow."""
MAX_CRON_CHARACTERS = 200
MAX_TIME_ZONE_CHARACTERS = 100
MAX_TEMPLATE_DEPTH = 3
"""Templates that a step uses, each through the one before."""
MAX_PARAM_CHARACTERS = 10_000
MAX_COMBINATIONS = 256
MAX_MATRIX_VALUE_CHARACTERS = 200
MAX_LABELS = 50
MAX_LABEL_CHARACTERS = 100
MAX_BRANCH_PATTERNS = 100
MAX_PULL_REQUEST_LABEL_CHARACTERS = 100
MAX_BRANCH_PATTERN_CHARACTERS = 255

MAX_MODULES = 500
MAX_TARGETS = 100
"""Of one module."""
MODULE_NAME = "[A-Za-z0-9_][A-Za-z0-9_.-]*"
"""Of modules and their targets: no `/`, which parts a module from its project."""

DEFAULT_TIMEOUT_SECONDS = 60 * 60
MAX_TIMEOUT_SECONDS = 24 * 60 * 60
MAX_BUILD_TIMEOUT_SECONDS = 7 * 24 * 60 * 60
MAX_GROUP_CHARACTERS = 200
MAX_GROUP_LIMIT = 1000
MAX_NOTIFIED = 20
MAX_QUEUE_TIMEOUT_SECONDS = 7 * 24 * 60 * 60
MAX_GATE_MESSAGE_CHARACTERS = 1000
DEFAULT_EXPIRY_SECONDS = 7 * 24 * 60 * 60
MAX_EXPIRY_SECONDS = 90 * 24 * 60 * 60
MAX_GIT_DEPTH = 1_000_000
DEFAULT_GRACE_SECONDS = 10
MAX_GRACE_SECONDS = 5 * 60
MIN_KEEP_SECONDS = 60
MAX_KEEP_SECONDS = 36_500 * 24 * 60 * 60
"""Of a step's outputs."""
MAX_RETRIES = 10
MAX_RETRY_DELAY_SECONDS = 60 * 60

ENVIRONMENT_NAME = "[A-Za-z_][A-Za-z0-9_]*"
EXTENSION_PREFIX = "x-"
"""Of keys of a file that mean nothing by themselves."""
RESERVED_PREFIX = "PUSHROD_"
LABEL_NAME = "[A-Za-z0-9][A-Za-z0-9._/-]*"
DURATION = "(?=[0-9])(?:[0-9]{1,5}d)?(?:[0-9]{1,5}h)?(?:[0-9]{1,5}m)?(?:[0-9]{1,5}s)?"
USER = re.compile("[0-9]{1,10}(?::[0-9]{1,10})?")
MAX_USER_ID = 2**31 - 1
"""The highest that container runtimes take."""
MAX_PLATFORMS = 10
PLATFORM = re.compile(r"linux/[a-z0-9]{1,20}(?:/v[0-9]{1,2})?")
MAX_TAGS = 20
MAX_BUILD_ARGS = 100
TARGET = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*", re.ASCII)
"""A stage of a Dockerfile, by name or number."""
SHELL = r"[A-Za-z0-9_./+-]+( [A-Za-z0-9_./+:=@,-]+)*"
"""A program, with arguments that mean the same however they are read."""
EXIT = "exit:"
EXIT_CODE = r"exit:([1-9][0-9]?|1[0-9][0-9]|2[0-4][0-9]|25[0-5])"
RETRY_WORD = rf"lost|timeout|failed|failure|{EXIT_CODE}"
"""After what a step is tried again; `failure` is what `failed` was called before."""
