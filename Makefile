# The ways in. `make help` lists them; everything runs from .venv, which is made from requirements.lock alone.

BIN := .venv/bin
# The client lies in this repository; no index is asked for it.
EXCLUDED := echo millrace-client |
COMPILE := $(EXCLUDED) $(BIN)/uv pip compile pyproject.toml --quiet --all-extras --universal --python-version 3.11 \
  --generate-hashes --no-emit-index-url --no-annotate --excludes - --custom-compile-command 'make lock'

# BUILD_OPTIONS takes what a machine needs, such as --network host or --build-arg PIP_INDEX_URL.
VERSION ?= $(shell sed -n 's/^version = "\(.*\)"/\1/p' pyproject.toml)
IMAGE ?= millrace:$(VERSION)

.DEFAULT_GOAL := help
.PHONY: help venv up dev demo prove prove-client prove-cluster client bench bench-docs check test coverage test-nightly test-client test-clients test-dashboards test-faults test-citus test-console test-docs cluster-test image image-test kind-load minikube-load push docs site lock upgrade

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-13s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

# .venv fits where it was made from this lock and what it imports are these folders: in a copied or moved one, or under
# another Python, it is not. The copy of the lock is made last, so an interrupted installation starts anew.
FITS = cmp -s requirements.lock .venv/made-from.lock && \
  $(BIN)/python -Ic 'import os.path, services, millrace_client as client; raise SystemExit(not all(map(os.path.samefile, \
    [services.__path__[0], client.__path__[0]], ["services", "clients/python/src/millrace_client"])))' 2>/dev/null

venv: ## Make .venv, by PYTHON if said, if requirements.lock changed or the folder was copied or moved
	@$(FITS) || $(MAKE) --no-print-directory install

# One make at a time; who waited finds .venv made.
.PHONY: install install-anew
install:
	@for path in . .venv .venv.lock; do test ! -e $$path || test -w $$path || \
	  { echo "$$path cannot be written to by $$(id -un), and .venv is made in $(CURDIR)" >&2; exit 1; }; done
	@exec 9>>.venv.lock; ! command -v flock >/dev/null || flock -n 9 || \
	  { echo 'Another make is making .venv: waiting for it' >&2; flock 9; }; \
	  $(FITS) || $(MAKE) --no-print-directory install-anew

# The lock is complete: without --no-deps pip would look for newer releases behind extras, and refuse them.
install-anew:
	@python=$$(for name in $(PYTHON) python3 python3.14 python3.13 python3.12 python3.11; do \
	    $$name -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$name && break; done); \
	  test "$$python" || { echo 'Python 3.11 or later is needed, and none was found' >&2; exit 1; }; \
	  echo "Making .venv with $$($$python --version): a few minutes, and 1.5 GB" && rm -rf .venv && $$python -m venv .venv
	@$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes --no-deps -r requirements.lock
	@$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --no-index --no-build-isolation \
	  -e clients/python -e .
	@cp requirements.lock .venv/made-from.lock

up: venv ## Run everything on this machine; Ctrl-C stops it
	@$(BIN)/millrace up

dev: venv ## The same, and a changed service restarts by itself
	@$(BIN)/millrace up --reload

demo: venv ## Send the demo's readings to what runs, and check the answers
	@$(BIN)/millrace demo

MINUTES ?= 3
CLUSTER ?= $(if $(filter cnpg,$(MODE)),sensors)
prove: venv $(if $(filter cnpg,$(MODE)),prove-cluster) ## Kill and pause all under load, by DOOR if said, for MINUTES, and count what was lost or doubled
	@$(if $(filter cnpg,$(MODE)),:,$(BIN)/millrace prove --minutes $(MINUTES) $(if $(SEED),--seed $(SEED)) \
	  $(if $(DOOR),--door $(DOOR)) $(if $(MODE),--mode $(MODE)))

prove-client: venv ## Kill a Python writer with a spool, ingest and all else for MINUTES, and count what was lost or doubled
	@$(BIN)/millrace prove-client --minutes $(MINUTES) $(if $(SEED),--seed $(SEED))

BENCH = $(if $(PROFILE),--profile) $(if $(ROWS),--rows $(ROWS)) $(if $(REPEATS),--repeats $(REPEATS)) \
  $(if $(filter-out file,$(origin MINUTES)),--minutes $(MINUTES))
bench: venv ## Measure the stack against its yardsticks; benchmarks/README.md says what CASE and others choose
	@$(BIN)/python -m benchmarks $(CASE) $(BENCH)

bench-docs: venv ## Write docs/performance.md from RESULTS, files below benchmarks/results, or the reference anew
	@$(BIN)/python -m benchmarks.docs $(RESULTS)

RELEASE ?= millrace
prove-cluster: venv ## The same against RELEASE in NAMESPACE of kubectl's cluster: it deletes pods, and needs an empty table
	@test "$(NAMESPACE)" || { echo 'say whose pods may be deleted: make prove-cluster NAMESPACE=proof' >&2; exit 1; }
	@$(BIN)/millrace prove-cluster --namespace $(NAMESPACE) --release $(RELEASE) --minutes $(MINUTES) \
	  $(if $(SEED),--seed $(SEED)) $(if $(INGEST),--ingest $(INGEST)) $(if $(DATABASE),--database '$(DATABASE)') \
	  $(if $(CLUSTER),--cloudnative-pg $(CLUSTER))

client: venv ## Build the Python client's sdist and wheel into clients/python/dist
	rm -rf clients/python/dist
	$(BIN)/uv build --quiet --no-build-isolation --offline clients/python
	@ls clients/python/dist

check: venv ## Style, types, import rules, module sizes, lock and docs
	$(BIN)/ruff format --check --quiet
	$(BIN)/ruff check --quiet
	$(BIN)/mypy --no-error-summary
	$(BIN)/mypy --no-error-summary clients/python/tests
	$(BIN)/lint-imports --no-logo
	@find services tests charts clients pages $(wildcard benchmarks) -name '*.py' -exec wc -l {} + | \
	  awk '$$2 != "total" && $$1 > 400 { print $$2 ": " $$1 " lines, 400 are the limit"; found = 1 } END { exit found }'
	@$(BIN)/millrace config --markdown | diff docs/settings.md - || { echo 'docs/settings.md: run make docs' >&2; exit 1; }
	@$(BIN)/python -m charts.generate --check
	@$(BIN)/python -m pages.generate --check
	@$(EXCLUDED) $(BIN)/uv pip install --quiet --offline --dry-run --strict -r pyproject.toml --all-extras --excludes - || \
	  { echo 'requirements.lock does not hold what pyproject.toml asks for: run make lock' >&2; exit 1; }

# Half of the time tests wait for processes that start: twice as many as there are cores keep these busy.
TEST = $(BIN)/pytest --numprocesses 4 --dist worksteal
test: venv ## All tests, with real servers
	$(TEST)

coverage: venv ## The same, and what of the code they run, in a third more time
	$(TEST) --cov --cov-report=term-missing:skip-covered

test-nightly: venv ## Answers of /series against the reference, ten times as many; a million bodies for each decoder
	$(BIN)/pytest tests/unit/query/series tests/integration/query/test_series.py tests/unit/ingest/test_fuzzed_decoders.py \
	  --hypothesis-profile nightly --numprocesses 2 --dist worksteal

test-client: client ## Install the client's wheel in an empty environment, from an index, and run its README
	$(BIN)/pytest tests/client

test-clients: venv ## Telegraf, Prometheus and other clients themselves, while the stack is killed; builds what is not there
	$(BIN)/pytest tests/clients --client-results docs/doors/results.md

test-dashboards: venv ## Every question of every panel, asked of a loaded stack: needs Prometheus and Mosquitto
	$(BIN)/pytest tests/dashboards

SCALE ?= 1
test-faults: venv ## Break everything, row by row of docs/reliability.md, with SCALE times the load
	$(BIN)/pytest tests/faults -m '' --numprocesses 2 --dist worksteal --scale $(SCALE) --results docs/fault-results.md

# Tests that rest on triggers, which Citus has not, or on its first answer within half a second, stay away.
ON_CITUS = tests/citus tests/integration/test_whole_way.py tests/integration/worker tests/integration/ingest/test_deletions.py \
  tests/integration/database/test_rollups_kept.py \
  $(addprefix tests/integration/query/test_,series.py series_forms.py hourly.py rollups.py latest.py catalogue.py grafana.py status.py)
test-citus: venv ## On a Citus cluster: the whole way, questions against the reference, deletions, nodes killed under load
	TEST_MODES=citus $(BIN)/pytest $(ON_CITUS) --numprocesses 2 --dist worksteal \
	  -k 'not refuses_tells_why and not take_too_long and not falls_silent'

test-console: venv ## The console in Chromium, which must be on the path; makes the docs' pictures anew
	$(BIN)/pytest tests/console

test-docs: venv ## Run the commands and snippets of README and docs against a stack that `make up` runs
	$(BIN)/pytest tests/pages

cluster-test: venv ## Tests on a real cluster, behind `make coverage`: needs kubectl, KUBECONFIG, and the image in the cluster
	$(BIN)/pytest tests/cluster --cov --cov-append --cov-report= --cov-fail-under=0
	$(BIN)/coverage report --include='services/operator/*' --omit='tests/*' --skip-covered --fail-under=90

image: ## Build the container image IMAGE
	docker build $(BUILD_OPTIONS) --build-arg VERSION=$(VERSION) --build-arg REVISION=$$(git rev-parse HEAD) --tag $(IMAGE) .

image-test: ## Run the image read-only, without rights
	docker run --rm --read-only --cap-drop ALL --security-opt no-new-privileges --network none $(IMAGE) --version
	docker run --rm --read-only --cap-drop ALL --security-opt no-new-privileges --network none $(IMAGE) config >/dev/null

kind-load: ## Hand the image to a kind cluster
	kind load docker-image $(IMAGE)

minikube-load: ## Hand the image to minikube
	minikube image load $(IMAGE)

push: ## Push the image to REGISTRY
	@test "$(REGISTRY)" || { echo 'say where to: make push REGISTRY=registry.example.com/team' >&2; exit 1; }
	docker tag $(IMAGE) $(REGISTRY)/$(IMAGE)
	docker push $(REGISTRY)/$(IMAGE)

docs: venv ## Write docs/settings.md, docs/reference and what is generated in the chart
	$(BIN)/millrace config --markdown > docs/settings.md
	$(BIN)/python -m charts.generate
	$(BIN)/python -m pages.generate

# MkDocs would tell at each build that its second version has no plugins; pyproject.toml keeps it away.
site: venv ## Make docs/ a site, in site/
	@NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build

lock: venv ## Write requirements.lock, keeping the versions that fit
	$(COMPILE) --output-file requirements.lock

upgrade: venv ## Write requirements.lock with the newest versions
	$(COMPILE) --upgrade --output-file requirements.lock
