# The two commands of the README are `make demo` and `make test`; each sets up what it needs in .venv.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: demo test prove check format lint types contracts coverage frames bench soak vm-camera pi audit sbom lock \
  image image-lock image-static image-boot image-test clean

demo: $(VENV)/.run-ready
	@$(BIN)/kiosk demo

test: $(VENV)/.dev-ready
	$(BIN)/python -m pytest

# The long versions of the runs about money, one line of result each: some hours.
prove: $(VENV)/.dev-ready
	$(BIN)/python tests/prove.py

check: format lint types contracts coverage

format: $(VENV)/.dev-ready
	$(BIN)/ruff format --check .

lint: $(VENV)/.dev-ready
	$(BIN)/ruff check .

types: $(VENV)/.dev-ready
	$(BIN)/mypy

contracts: $(VENV)/.dev-ready
	PYTHONPATH=image-build $(BIN)/lint-imports --no-cache

# The recorded frames, drawn anew by the renderer.
frames: $(VENV)/.run-ready
	$(BIN)/python -m kiosk.sandbox.recorded tests/data/frames
	$(BIN)/python -m kiosk.sandbox.recorded --hard tests/data/frames-hard
	$(BIN)/python -m kiosk.sandbox.recorded --demo kiosk/sandbox/frames

# The tests once more, measured: the rules of a payment are covered whole, the rest to 90 %.
coverage: $(VENV)/.dev-ready
	rm -f .coverage .coverage.*
	$(BIN)/python -m coverage run -m pytest
	$(BIN)/python -m coverage combine --quiet
	$(BIN)/python -m coverage report --include='kiosk/core/*' --fail-under=100
	$(BIN)/python -m coverage report --fail-under=90

bench: $(VENV)/.run-ready
	$(BIN)/kiosk bench

# The cameras before a driver of the kernel, in a virtual machine (qemu-system-x86, busybox-static).
vm-camera: $(VENV)/.dev-ready
	$(BIN)/python tests/vm/run.py

# A million frames through the scanner: its memory must stay flat. Takes a quarter of an hour.
soak: $(VENV)/.run-ready
	$(BIN)/python -m kiosk.bench.soak

# The pins of a Raspberry Pi (builds lgpio where there is no wheel for it: swig, gcc, python3-dev).
pi: $(VENV)/.run-ready
	PYPI=1 $(BIN)/python -m pip install --quiet --no-deps --require-hashes -r .lock/pi.txt

# The SD card image, into dist/image/: see image-build/README.md. UPDATE_KEYS=DIR, IMAGE_URL=URL.
# BASE=raspios: of Raspberry Pi OS, into dist/image-raspios/; it has a lock of its own.
image: $(VENV)/.run-ready
	PYTHONPATH=image-build $(BIN)/python -m builder image $(if $(BASE),--base $(BASE))

# Which packages it is made of, from what the mirrors have today. BASE as above.
image-lock: $(VENV)/.run-ready
	PYTHONPATH=image-build $(BIN)/python -m builder lock $(if $(BASE),--base $(BASE))

# The image of dist/image/ looked at; and started, cut, updated (qemu-system-arm; an hour).
image-static: $(VENV)/.dev-ready
	$(BIN)/python -m pytest -n0 image-build/tests/test_static.py

# Of the started tests those that take a quarter of an hour.
image-boot: $(VENV)/.dev-ready
	$(BIN)/python -m pytest -n0 image-build/tests/test_harness.py image-build/tests/test_virt.py \
	  image-build/tests/test_config_error.py image-build/tests/test_raspi3b.py

image-test: $(VENV)/.dev-ready
	$(BIN)/python -m pytest -n0 image-build/tests

# Known vulnerabilities of what the locks name: a list kept by hand, and PyPI where it answers.
# Wholly offline: make audit ADVISORIES=all.zip, osv.dev's archive of all advisories about PyPI.
# AUDIT=--current fails where no complete list of the last month was asked.
audit: $(VENV)/.audit-ready
	$(VENV)/audit/bin/python .lock/audit.py $(AUDIT) --advisories .lock/advisories.json \
	  $(if $(ADVISORIES),--advisories $(ADVISORIES),--pip-audit $(VENV)/audit/bin/pip-audit) .lock/run.txt .lock/pi.txt

# The list of parts (SBOM, CycloneDX) of what runs on a kiosk, with hashes and licences.
sbom: $(VENV)/.audit-ready
	$(VENV)/audit/bin/python .lock/sbom.py dist/kiosk-$$(sed -n 's/^version = "\(.*\)"/\1/p' pyproject.toml).cdx.json

$(VENV)/.audit-ready: .lock/audit.txt | $(VENV)/bin/python
	$(PYTHON) -m venv $(VENV)/audit
	$(VENV)/audit/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r .lock/audit.txt
	@touch $@

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(0 if (3, 11) <= sys.version_info[:2] < (3, 15) else "Python 3.11 to 3.14 is needed; this is %s. Name another: make PYTHON=python3.12 ..." % sys.version.split()[0])'
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { echo 'Python has no venv here. Get it: sudo apt install python3-venv'; exit 1; }
	$(PYTHON) -m venv $(VENV)

$(VENV)/.run-ready: .lock/run.txt pyproject.toml | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r .lock/run.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

$(VENV)/.dev-ready: .lock/dev.txt $(VENV)/.run-ready
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r .lock/dev.txt
	@touch $@

# Locks name packages, versions and hashes, never an index or a host.
lock:
	$(PYTHON) -m venv .lock/venv && .lock/venv/bin/pip install --quiet uv
	for lock in 'run pyproject.toml --group build' 'pi pyproject.toml --extra pi' \
	    'dev pyproject.toml --group build --group dev' 'audit --group audit'; do \
	  set -- $$lock; name=$$1; shift; \
	  env -u UV_INDEX -u UV_INDEX_URL UV_NO_CONFIG=1 .lock/venv/bin/uv pip compile --quiet --upgrade --universal \
	    --python-version 3.11 --generate-hashes --no-header --no-emit-index-url --no-emit-find-links \
	    "$$@" -o .lock/$$name.txt || exit 1; \
	done
	rm -rf .lock/venv

clean:
	rm -rf $(VENV) .mypy_cache .pytest_cache .ruff_cache .hypothesis .coverage* dist
