# One command checks everything: format, lint, types, import contract and tests.
.PHONY: check core lint test wheels
PYTHON ?= python3

check: lint test

core:  ## build the C++ core in place, for work inside the tree
	cmake -S . -B build/dev -DCMAKE_BUILD_TYPE=Release
	cmake --build build/dev --parallel
	install -m 755 build/dev/libkatago_agent_core.so agent/engine/core/.libkatago_agent_core.so.new
	mv agent/engine/core/.libkatago_agent_core.so.new agent/engine/core/libkatago_agent_core.so

lint:
	$(PYTHON) -m ruff format --check .
	$(PYTHON) -m ruff check .
	$(PYTHON) -m mypy
	lint-imports

test: core
	$(PYTHON) -m pytest
