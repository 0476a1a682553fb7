# Two commands for a newcomer: `make demo` and `make test`. They need Python 3.10 or newer and its venv module.
PYTHON ?= python3
DEMO := .venv/demo
TEST := .venv/test
PI := .venv/pi/host

.PHONY: demo test lint pi clean

demo: $(DEMO)/.done
	$(DEMO)/bin/python examples/demo.py demo

test: $(TEST)/.done
	$(TEST)/bin/python -m pytest

lint: $(TEST)/.done
	$(TEST)/bin/python -m pip install --quiet --disable-pip-version-check -e '.[lint]'
	$(TEST)/bin/ruff check .
	$(TEST)/bin/ruff format --check .
	$(TEST)/bin/mypy

# On emulated Raspberry Pis; needs Debian, and root where qemu-user is not installed. ARGS=--write renews the reference.
pi: $(PI)/.done
	$(PI)/bin/python -m benchmarks.raspberry_pi $(ARGS)

$(DEMO)/.done: setup.py
	$(PYTHON) -m venv $(DEMO)
	$(DEMO)/bin/python -m pip install --quiet --disable-pip-version-check -e '.[dicom]' pydicom-data==1.0.0
	touch $@

$(TEST)/.done: setup.py
	$(PYTHON) -m venv $(TEST)
	$(TEST)/bin/python -m pip install --quiet --disable-pip-version-check -e '.[test]'
	touch $@

$(PI)/.done: benchmarks/raspberry_pi/requirements.txt
	$(PYTHON) -m venv $(PI)
	$(PI)/bin/python -m pip install --quiet --disable-pip-version-check -r $< 'setuptools>=77'
	touch $@

clean:
	rm -rf .venv build *.egg-info demo runs
