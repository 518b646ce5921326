"""How much of a step's reports is read. All of them are outsiders' text."""

from __future__ import annotations

MAX_FILES = 500
"""Of one step."""
MAX_FILE_BYTES = 64 * 1024 * 1024
MAX_TOTAL_BYTES = 256 * 1024 * 1024
MAX_SUMMARY_BYTES = 64 * 1024
MAX_TESTS = 100_000
MAX_TEXT_CHARACTERS = 32 * 1024 * 1024
"""Of all names, messages and details of a step's tests together."""
MAX_NAME_CHARACTERS = 500
MAX_MESSAGE_CHARACTERS = 1000
MAX_DETAILS_CHARACTERS = 8000
"""Of the text that a failed test left: its beginning and its end, half of it each."""
MAX_DEPTH = 200
"""Of elements within elements."""
MAX_COVERED_LINES = 1_000_000
"""Of all files of a step's coverage together."""
MAX_WARNINGS = 20
TESTS_AT_ONCE = 2000
"""Handed on, and written to the database."""
