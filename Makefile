# On a machine with Python 3.11 and make, these do everything, set-up included:
#   make run    the embedded server with a demo, until Ctrl-C
#   make test   the checks and all ordinary tests

PYTHON ?= python3
UV := .tools/bin/uv
EXECUTOR := .venv/bin/program-executor
export UV_PYTHON_DOWNLOADS ?= never

.PHONY: run demo test test-all chaos mutants bench check format generate docs screenshots clean

run: .venv/ready
	$(EXECUTOR) dev --demo --data .dev

demo: .venv/ready
	$(EXECUTOR) dev --demo --exit --port 0 --data .dev

# four at a time on two cores: most of a test's time is waiting for brokers and leases
PYTEST := .venv/bin/pytest -n 4 --dist loadfile

test: check
	$(PYTEST) -m "not long"

# a long test is handed to whoever is idle: the longest files take a worker over an hour
test-all: test
	$(PYTEST) --dist worksteal -m "long"

# everything breaks at once, over and over: the same faults for the same seed
SECONDS ?= 120
SEED ?= 7

chaos: .venv/ready
	.venv/bin/python tests/chaos/run_storm.py --seconds $(SECONDS) --seed $(SEED)

# the storm must find eight mistakes, each made in a copy of the product
mutants: .venv/ready
	.venv/bin/python tests/mutants/run_mutants.py --seed $(SEED)

# ours, the yardstick and other systems, side by side: docs/performance.md
ONLY ?=
REPEAT ?= 3
PROGRAMS ?= 10000

bench: .venv/ready
	.venv/bin/python benchmarks/bench.py --only "$(ONLY)" --repeat $(REPEAT) --programs $(PROGRAMS)

check: .venv/ready
	.venv/bin/ruff check --quiet
	.venv/bin/ruff format --check --quiet
	.venv/bin/mypy
	.venv/bin/lint-imports
	.venv/bin/python tests/generated.py
	.venv/bin/python tests/released.py
	.venv/bin/python tests/vulnerabilities.py

format: .venv/ready
	.venv/bin/ruff check --fix --quiet
	.venv/bin/ruff format --quiet

# what is written from the code, and compared with it in `make check`
generate: .venv/ready
	$(EXECUTOR) openapi openapi/program-executor.json
	$(EXECUTOR) config document docs/settings.md
	$(EXECUTOR) config metrics docs/metrics.md
	$(EXECUTOR) config events docs/events.md
	$(EXECUTOR) config commands docs/cli.md
	.venv/bin/python tests/chart_files.py
	$(EXECUTOR) config reference docs/reference.md

# the documentation's site, in site/html; a link that leads nowhere is an error
docs: .venv/ready
	.venv/bin/python tests/site_pages.py
	.venv/bin/zensical build --strict --clean

# the pictures of the dashboard, in docs/screenshots
screenshots: .venv/ready
	PYTHONPATH=tests .venv/bin/python tests/browser/screenshots.py

clean:
	rm -rf .venv .tools .dev .bench dist site

$(UV):
	$(PYTHON) -m venv .tools
	.tools/bin/python -m pip install --quiet --disable-pip-version-check uv

.venv/ready: $(UV) pyproject.toml uv.lock
	$(UV) sync --locked --quiet --compile-bytecode --python $(PYTHON)
	touch .venv/ready
