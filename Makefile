# One command checks everything: format, lint, types, import contract and tests.
.PHONY: aarch64 check core lint test wheels
PYTHON ?= $(firstword $(wildcard .venv/bin/python) python3)
BUILD_DIR ?= build/dev

check: lint test

core:  ## build the C++ core in place, for work inside the tree
	cmake -S . -B $(BUILD_DIR) -DCMAKE_BUILD_TYPE=Release
	cmake --build $(BUILD_DIR) --parallel
	install -m 755 $(BUILD_DIR)/libkatago_agent_core.so agent/engine/core/.libkatago_agent_core.so.new
	mv agent/engine/core/.libkatago_agent_core.so.new agent/engine/core/libkatago_agent_core.so

aarch64:  ## whether the core compiles for boards, with Debian's g++-aarch64-linux-gnu; `wheels` runs it, too
	cmake -S . -B build/aarch64 -DCMAKE_SYSTEM_NAME=Linux -DCMAKE_SYSTEM_PROCESSOR=aarch64 \
	    -DCMAKE_CXX_COMPILER=aarch64-linux-gnu-g++ -DCMAKE_BUILD_TYPE=Release
	cmake --build build/aarch64 --parallel

lint:  ## ./install.sh dev brings these tools
	$(PYTHON) -m ruff format --check .
	$(PYTHON) -m ruff check .
	$(PYTHON) -m mypy
	$(PYTHON) -c "from importlinter.cli import lint_imports_command as lint; lint()"

test: core
	$(PYTHON) -m pytest

wheels:  ## dist/*.whl for this machine's architecture and for aarch64 (the latter as root, emulated)
	.ci/wheels
