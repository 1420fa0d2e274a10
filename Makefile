# One command checks everything: format, lint, types, import contract and tests.
.PHONY: check core lint test wheels
PYTHON ?= $(firstword $(wildcard .venv/bin/python) python3)
BUILD_DIR ?= build/dev

check: lint test

core:  ## build the C++ core in place, for work inside the tree
	cmake -S . -B $(BUILD_DIR) -DCMAKE_BUILD_TYPE=Release
	cmake --build $(BUILD_DIR) --parallel
	install -m 755 $(BUILD_DIR)/libkatago_agent_core.so agent/engine/core/.libkatago_agent_core.so.new
	mv agent/engine/core/.libkatago_agent_core.so.new agent/engine/core/libkatago_agent_core.so

lint:  ## ./install.sh dev brings these tools
	$(PYTHON) -m ruff format --check .
	$(PYTHON) -m ruff check .
	$(PYTHON) -m mypy
	$(PYTHON) -c "from importlinter.cli import lint_imports_command as lint; lint()"

test: core
	$(PYTHON) -m pytest

wheels:  ## dist/*.whl for this machine's architecture and for aarch64 (the latter as root, emulated)
	.ci/wheels
