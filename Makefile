# Two commands for a newcomer: `make demo` and `make test`. They need Python 3.10 or newer and its venv module.
PYTHON ?= python3
DEMO := .venv/demo
TEST := .venv/test


# All that a 64-bit Raspberry Pi needs, without a connection there: PY=3.11 is for bookworm, PY=3.13 for trixie.
PY ?= 3.11
WHEELHOUSE := wheelhouse/arm64-$(PY)
ARM64 := $(addprefix --platform manylinux_2_,28_aarch64 27_aarch64 17_aarch64) --platform manylinux2014_aarch64
PIP := .venv/wheelhouse/bin/python -m pip --quiet --disable-pip-version-check

.PHONY: demo test lint wheelhouse-arm64 clean

demo: $(DEMO)/.done
	$(DEMO)/bin/python examples/demo.py demo

test: $(TEST)/.done
	$(TEST)/bin/python -m pytest

lint: $(TEST)/.done
	$(TEST)/bin/python -m pip install --quiet --disable-pip-version-check -e '.[lint]'
	$(TEST)/bin/ruff check .
	$(TEST)/bin/ruff format --check .
	$(TEST)/bin/mypy

# Under another name until it is whole. build/ goes first, or files deleted since would be packed again.
wheelhouse-arm64:
	$(PYTHON) -m venv .venv/wheelhouse
	rm -rf build $(WHEELHOUSE).part
	$(PIP) wheel --no-deps --wheel-dir $(WHEELHOUSE).part .
	$(PIP) download --only-binary=:all: $(ARM64) --python-version $(PY) --implementation cp \
	    --dest $(WHEELHOUSE).part "$$(echo $(WHEELHOUSE).part/covidnet_lite-*.whl)[dicom]"
	cp examples/raspberry_pi/* $(WHEELHOUSE).part
	cd $(WHEELHOUSE).part && sha256sum * > SHA256SUMS
	rm -rf $(WHEELHOUSE)
	mv $(WHEELHOUSE).part $(WHEELHOUSE)
	ls -l $(WHEELHOUSE)

$(DEMO)/.done: setup.py
	$(PYTHON) -m venv $(DEMO)
	$(DEMO)/bin/python -m pip install --quiet --disable-pip-version-check -e '.[dicom]' pydicom-data==1.0.0
	touch $@

$(TEST)/.done: setup.py
	$(PYTHON) -m venv $(TEST)
	$(TEST)/bin/python -m pip install --quiet --disable-pip-version-check -e '.[test]'
	touch $@

clean:
	rm -rf .venv build *.egg-info demo runs wheelhouse
