# The template's verbs, which the Makefile includes: `make` alone lists them. Yours go there.
# macOS's make 3.81 looks up a plain command on the PATH that it was started with, not on the one below; only a shell that it
# does not know keeps it from that. It knows /bin/sh, /bin/bash and /bin/zsh.
SHELL := /usr/bin/env sh
# The oldest uv that can do all that is asked of it here and in pyproject.toml. One on the PATH may be older, or not run.
UV_NEEDED := 0.8
UV := $(shell echo $(UV_NEEDED) $$(uv --version 2>/dev/null) | \
  awk -F '[ .]' '{exit !($$3 == "uv" && ($$4 > $$1 || $$4 == $$1 && $$5 >= $$2))}' && command -v uv || echo .uv/bin/uv)
NO_DATES := "This package index does not say when versions were uploaded: remove exclude-newer from pyproject.toml."
# Each command starts three times faster with the libraries compiled; uv would do it without a word for half a minute.
COMPILE := .venv/bin/python -m compileall -j 0 .venv/lib 2>/dev/null | \
  awk '/^Compiling/ && ++n % 1000 == 0 {printf "\rCompiling libraries, once: %d files", n; fflush()} END {if (n > 999) print ""}'
STALE := "dvc.lock is not what the pipeline gives: make reproduce, commit dvc.lock, then uv run dvc push."
NO_FILES := "git knows no file of this folder yet, so nothing would be checked: type git add . first."
# A change is compared with the main branch; the main branch with what it was before.
BASE = $(shell git diff --quiet HEAD origin/main 2>/dev/null && echo HEAD^ || echo origin/main)
export PATH := $(CURDIR)/.venv/bin:$(PATH)

{%- if 'release' in cookiecutter.__rooms %}

export REASON NO_DUEL UNDECIDED
{%- endif %}
{%- if 'serving' in cookiecutter.__rooms %}
EXTRA := $(if $(DASK_SCHEDULER_ADDRESS),--extra dask)
{%- endif %}
{%- if 'delivery' in cookiecutter.__rooms %}
export IMAGE ?= {{ cookiecutter.container_registry }}/{{ cookiecutter.project_slug }}
{%- endif %}

# Below a repository of dotfiles, say: neither git nor DVC would take anything.
ifneq ($(shell git check-ignore dvc.yaml 2>/dev/null),)
$(error The git repository $(shell git rev-parse --show-toplevel) ignores this folder: type git init to give it one of its own)
endif

##@ Start
.PHONY: help setup
help: ## list the verbs
	@awk -F ':.*## ' '/^##@/ {title = "\n" substr($$0, 5) "\n"} \
	  /^[a-z-]+:.*## / {printf "%s  make %-12s %s\n", title, $$1, $$2; title = ""}' modelcycle.mk Makefile

setup: .venv/ready ## install what the verbs need into .venv, turn on the checks before each commit

# .venv/ready holds its own path: in a folder that was moved or copied, what is in .venv starts from the old place.
OLD_VENV := $(shell ! read -r path 2>/dev/null <.venv/ready || test "$$path" -ef .venv/ready || echo "$$path")
ifneq ($(OLD_VENV),)
.PHONY: .venv/ready
endif
# Everything goes into .venv and comes from there, whatever other environment is active here.
unexport UV_PROJECT_ENVIRONMENT VIRTUAL_ENV PYTHONPATH PYTHONHOME

.venv/ready: pyproject.toml $(wildcard uv.lock) | $(UV)
	@$(if $(OLD_VENV),echo ".venv was made in another folder: it is made again." >&2; rm -rf .venv)
	@$(UV) sync $(EXTRA) || { $(UV) sync 2>&1 | grep -q "missing an upload date" && echo $(NO_DATES) >&2; exit 1; }
	@$(COMPILE)
	@git rev-parse --git-dir >/dev/null 2>&1 || git init --quiet --initial-branch=main
	@[ -n "$$(git rev-parse --show-prefix)" ] || pre-commit install >/dev/null || echo "No checks before each commit: pre-commit can't install them here." >&2
	@echo "$(CURDIR)/$@" >$@

# Any Python will do, where pyenv lacks the one that .python-version names.
.uv/bin/uv:
	@echo "There is no uv $(UV_NEEDED) or newer that runs: one is installed for this project alone, into .uv." >&2
	python3 -m venv .uv || PYENV_VERSION=system python3 -m venv .uv
	.uv/bin/pip install --quiet "uv>=$(UV_NEEDED)"

##@ Explore
.PHONY: notebooks ui
notebooks: setup ## open the notebooks in Jupyter
	jupyter lab --notebook-dir=notebooks

ui: setup ## compare all runs in MLflow, at http://127.0.0.1:5000
	MLFLOW_SERVER_ENABLE_JOB_EXECUTION=false mlflow ui --workers 1 --backend-store-uri "$${MLFLOW_TRACKING_URI:-sqlite:///.mlflow/mlflow.db}"

##@ Build
.PHONY: reproduce check test
reproduce: setup ## run the steps of the pipeline that are not up to date
	dvc repro

check: setup ## lint, format, types, notebooks, secrets
	@git ls-files --error-unmatch . >/dev/null 2>&1 || { echo $(NO_FILES) >&2; exit 1; }
	@python -m modelcycle.patches
	pre-commit run --all-files

test: setup ## test the code, the model, the pipeline and the notebooks, or TESTS="tests/unit tests/model"
	pytest --junitxml=reports/tests.xml $(TESTS)

##@ Review
.PHONY: fetch verify compare
{%- if 'process' in cookiecutter.__rooms %} process review docs
process: setup ## say which page of docs/crisp-dm/ lacks an owner, a review, evidence or the gate's numbers
	modelcycle process

review: setup ## for the sprint review: what came of the last two weeks, or since SINCE=tag, commit or date
	modelcycle review $(if $(SINCE),--since "$(SINCE)")

docs: setup ## make a site with search of README.md and docs/: reports/site/index.html; fails at a dead link
	@$(UV) sync --quiet --inexact $(EXTRA) --group docs
	sphinx-build --quiet --nitpicky --fail-on-warning --conf-dir docs . reports/site
	@cp reports/site/README.html reports/site/index.html
{%- endif %}

fetch: setup ## get from the DVC remote what it has of data, model and reports
	dvc pull --allow-missing

verify: reproduce ## fail where dvc.lock, as committed, is not what the pipeline gives
	@git diff HEAD -- dvc.lock
	@test -z "$$(git status --porcelain -- dvc.lock)" || { echo $(STALE) >&2; exit 1; }

compare: setup ## put the metrics beside those of the main branch, or of BASE=commit: reports/comparison.md
	@mkdir -p reports
	@if git rev-parse --quiet --verify $(BASE) >/dev/null; then dvc metrics diff --all --md $(BASE); \
	else echo "There is no $(BASE) to compare with."; fi >reports/comparison.md
	@cat reports/comparison.md
{%- if 'ci' in cookiecutter.__rooms %}

.PHONY: login
login: setup ## in CI: turn the secrets that docs/ci.md lists into what the tools read
	@sh deploy/login.sh $(IMAGE)
{%- endif %}
{%- if 'release' in cookiecutter.__rooms %}

##@ Release
.PHONY: gate release rollback trace
gate: setup ## check the model against the gate, and release nothing
	modelcycle gate

release: setup ## check the committed model against the gate; if it passes, it becomes the champion; NO_DUEL="why", UNDECIDED="why"
	modelcycle release $(if $(NO_DUEL),--no-duel "$$NO_DUEL") $(if $(UNDECIDED),--undecided "$$UNDECIDED")

rollback: setup ## make the previous champion, or VERSION=2, the champion again; REASON="why"
	modelcycle rollback $(VERSION) $(if $(REASON),--reason "$$REASON")

trace: setup ## follow the champion, or VERSION=2, back to the bytes it came from
	modelcycle trace $(VERSION)
{%- endif %}
{%- if 'delivery' in cookiecutter.__rooms %}

##@ Deliver
.PHONY: image push deploy undeploy audit
# Kubernetes' schedules run in an image of their own, so there each version has one.
PIPELINE ?= $(wildcard deploy/kubernetes)
image: setup ## build the image of the champion, or VERSION=2; PIPELINE=1: also the one that runs monitor and retrain
	modelcycle image $(VERSION)
	$(if $(PIPELINE),modelcycle image $(VERSION) --pipeline)

push: setup ## push what `make image` built to the container registry
	modelcycle push $(VERSION)
	$(if $(PIPELINE),modelcycle push $(VERSION) --pipeline)

# CI's builds stay on their own machine. (No comment behind the value: make would keep the space before it.)
deploy undeploy: export DOCKER_HOST := $(or $(DEPLOY_HOST),$(DOCKER_HOST))
deploy: setup ## run the pushed image of the champion, or DIGEST=sha256:..., in ENV=staging or ENV=production
	modelcycle deploy "$(ENV)" $(if $(DIGEST),--digest $(DIGEST))

undeploy: setup ## take away what runs in ENV=staging or ENV=production
	modelcycle undeploy "$(ENV)"

audit: setup ## look up uv.lock and the images among known vulnerabilities; fails on one, and without an answer
	modelcycle audit
{%- endif %}
{%- if 'serving' in cookiecutter.__rooms %}

##@ Operation
.PHONY: serve predict
serve: setup ## answer requests with the champion, at http://127.0.0.1:8000
	SERVE_OPEN=true modelcycle serve # without keys as long as there are none, on loopback only

predict: setup ## predict files with the champion: INPUT=new.csv OUTPUT=predictions.csv; INPUT may be a folder
	modelcycle predict $(if $(VERSION),--version $(VERSION)) $(INPUT) $(OUTPUT)
{%- endif %}
{%- if 'monitoring' in cookiecutter.__rooms %}

.PHONY: monitor retrain
monitor: setup ## compare the last 30 days, or SINCE=2024-05-01 UNTIL=2024-06-01, with the training data
	modelcycle monitor $(if $(SINCE),--since "$(SINCE)") $(if $(UNTIL),--until "$(UNTIL)")

retrain: setup ## bring feedback and new data (UNTIL=2024-06-01) in, run the pipeline, release if the gate agrees
	modelcycle retrain $(if $(UNTIL),--until "$(UNTIL)") $(RETRAIN)
{%- endif %}
{%- if 'airflow' in cookiecutter.__rooms %}

##@ Schedule
.PHONY: airflow
airflow: setup .venv-airflow/ready ## run the pipeline and the daily monitor as DAGs, at http://127.0.0.1:8080, or AIRFLOW_PORT=8090
	@bash deploy/airflow/standalone.sh

.venv-airflow/ready: deploy/airflow/requirements.txt | $(UV)
	$(UV) venv --quiet --clear .venv-airflow
	$(UV) pip install --quiet --python .venv-airflow --requirements deploy/airflow/requirements.txt
	@touch $@
{%- endif %}

##@ Stay current
.PHONY: update update-check
# The updater is the template's, and comes with the version that it brings in.
TEMPLATE = $(shell sed -n 's/^  "template": "\(.*\)",$$/\1/p' .cruft.json 2>/dev/null)
NO_TEMPLATE = "error: git can't clone the template from '$(TEMPLATE)': write its git address into .cruft.json, and commit."
UPDATER = clone=$$(mktemp -d) && trap 'rm -rf "$$clone"' EXIT && git clone --quiet "$(TEMPLATE)" "$$clone" && \
  test -f "$$clone/tools/update.py" || { echo $(NO_TEMPLATE) >&2; exit 1; }; python "$$clone/tools/update.py"
update: setup ## bring in the template's newest release, or TO=v1.2.0, SET={{ 'deployment=kubernetes' if 'delivery' in cookiecutter.__rooms else 'scope=product' }}; PREVIEW=1 only tells
	@$(UPDATER) $(TO) $(if $(SET),--set "$(SET)") $(if $(PREVIEW),--preview) $(if $(PROPOSE),--propose)

update-check: setup ## say whether the template has a newer release, and fail if it has
	@$(UPDATER) --check
{%- if 'ci' in cookiecutter.__rooms %}

.PHONY: propose
propose: ## in CI: push the branch that make update PROPOSE=1 has left, and open a request to merge it
	@sh deploy/propose.sh
{%- endif %}

##@ Everything
.PHONY: cycle
cycle: reproduce ## set up, run the pipeline, say what to type next
	@echo "Look at reports/report.html, compare runs with make ui, commit{% if 'release' in cookiecutter.__rooms %}, then: make release{% endif %}"
