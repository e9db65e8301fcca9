# Every target sets up what it needs by itself; .venv/bin/storeboot exists after any of them.

.PHONY: setup demo check test test-machines test-all test-nixpkgs bench pynfs lock

# Three tests at a time on two cores: they often wait.
WORKERS = 3
PYTEST = .venv/bin/pytest --numprocesses=$(WORKERS) --junitxml=.cache/$@.xml

setup:
	@scripts/setup

demo: setup
	.venv/bin/storeboot demo

check: setup
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/mypy
	.venv/bin/lint-imports
	shellcheck --shell=sh --exclude=SC1091 src/storeboot/initrd/scripts/* scripts/setup scripts/setup-tests scripts/bench .ci/run

# All that needs no firmware, and one booted machine for each promise.
test: setup
	@scripts/setup-tests
	$(PYTEST)

# Every machine: systems, kernels, protocols, modes, firmware. MACHINES="machines and not long" leaves
# out those that `make test` boots.
MACHINES = e2e and not long
test-machines: setup
	@scripts/setup-tests
	$(PYTEST) -m "$(MACHINES)"

test-all: setup
	@scripts/setup-tests
	$(PYTEST) -m "long or not long"

# The NixOS modules in the real module system, and NixOS' own stage-1 and stage-2 scripts in a
# machine, from a checkout of nixpkgs: make test-nixpkgs NIXPKGS=/path/to/nixpkgs
test-nixpkgs: setup
	@[ -e "$(NIXPKGS)/lib/default.nix" ] || { echo "error: NIXPKGS=$(NIXPKGS) is no checkout of nixpkgs" >&2; exit 1; }
	STOREBOOT_NIXPKGS="$(abspath $(NIXPKGS))" .venv/bin/pytest tests/modules tests/nixpkgs

# make bench GROUP=nfs; all groups without it.
bench: setup
	@scripts/bench $(GROUP)

# The public NFSv4.1 suite, from a checkout of it.
pynfs: setup
	.venv/bin/python tests/pynfs/run.py "$(PYNFS)"

# Needs uv; the lock has hashes, no address, and what only some machines can install is marked.
lock:
	uv pip compile --quiet --universal --generate-hashes --no-annotate --no-header --no-emit-index-url \
		--python-version 3.11 --extra dev pyproject.toml -o requirements.lock
