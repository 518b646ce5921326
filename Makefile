# Every target works from a fresh clone; PYTHON chooses the interpreter (3.11 or newer).
PYTHON ?=
PYTEST_ARGS ?=
UNIT ?= tests/unit

.PHONY: setup demo demo-stop test torture check types unit bench

setup:
	@PYTHON='$(PYTHON)' .ci/setup

demo:
	@PYTHON='$(PYTHON)' .ci/setup
	@.venv/bin/pushrod demo

demo-stop:
	@if [ -x .venv/bin/pushrod ]; then .venv/bin/pushrod demo --stop; else echo "no demo was running"; fi

check: setup
	.venv/bin/ruff format --check .
	.venv/bin/ruff check .
	.venv/bin/lint-imports
	@$(MAKE) --no-print-directory --jobs=2 --output-sync types unit

types:
	.venv/bin/mypy

unit: setup
	WORKERS=2 .ci/test -q $(UNIT) $(PYTEST_ARGS)

test:
	@PYTHON='$(PYTHON)' .ci/setup test
	.venv/bin/pushrod engine up
	.venv/bin/python -m agent.engines.private base-image
	.venv/bin/python -m agent.engines.private test-image
	.venv/bin/python -m agent.engines.private service-images
	.venv/bin/python -m agent.engines.private python-images
	.ci/test $(PYTEST_ARGS)

# What `make test` does of these in seconds, for as long as it takes to trust it.
torture: setup
	PUSHROD_TORTURE=long .venv/bin/pytest -p no:randomly --timeout 3600 tests/torture $(PYTEST_ARGS)

bench: setup
	.venv/bin/pushrod engine up
	.venv/bin/python -m agent.engines.private test-image
	.venv/bin/python -m tests.benchmarks
