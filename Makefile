# make chat        talk to a fresh agent, with a small model that runs on this machine
# make test        lint, types and all tests
# make test-slow   the tests that take minutes; every night
# make test-faults kills, power cuts, full disks and busy people by the hundred; every night
# make test-model  the embedded model's own suite: fetches its weights, takes a while

PYTHON ?= python3
TEMPLATE ?= agents_example/personal-assistant
MODEL ?= local

VENV = .venv
BIN = $(VENV)/bin
PIP = $(BIN)/python -m pip install --quiet --disable-pip-version-check

.DEFAULT_GOAL = help
.PHONY: help chat test test-slow test-faults test-model clean

help:
	@sed -n 's/^# //p' Makefile

# A stamp stands for an environment with these extras, made from this pyproject.toml.
$(VENV)/made:
	@echo "Making a virtual environment in $(VENV) …"
	@$(PYTHON) -m venv $(VENV)
	@touch $@

$(VENV)/local: $(VENV)/made pyproject.toml
	@echo "Installing fsagent and the runtime of its embedded model …"
	@$(PIP) -e '.[local]'
	@touch $@

$(VENV)/dev: $(VENV)/made pyproject.toml
	@echo "Installing fsagent and what its tests need …"
	@$(PIP) -e '.[dev]'
	@touch $@

chat: $(VENV)/local
	@case "$(MODEL)" in local) $(BIN)/fsagent model pull >/dev/null;; esac
	@agent=$(AGENT); n=1; \
	if [ -z "$$agent" ]; then \
	  while [ -e .agents/$(notdir $(TEMPLATE))-$$n ]; do n=$$((n + 1)); done; \
	  agent=.agents/$(notdir $(TEMPLATE))-$$n; \
	  $(BIN)/fsagent init "$$agent" --from $(TEMPLATE) >/dev/null && \
	  echo "A fresh agent in $$agent. To go on with it another day: make chat AGENT=$$agent"; \
	fi; \
	exec $(BIN)/fsagent chat "$$agent" --interactive --model $(MODEL)

test: $(VENV)/dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python -m pytest -n auto

test-slow: $(VENV)/dev
	$(BIN)/python -m pytest -n auto -m slow --ignore=tests/faults

# One after the other: what they measure is who waits for whom.
test-faults: $(VENV)/dev
	$(BIN)/python -m pytest -m slow tests/faults

test-model: $(VENV)/dev $(VENV)/local
	@$(BIN)/fsagent model pull
	$(BIN)/python -m pytest -m model -s tests/model

clean:
	rm -rf $(VENV) .agents .mypy_cache .ruff_cache .pytest_cache .hypothesis
