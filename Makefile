# Two commands for a newcomer: `make demo` and `make test`. They need Python 3.10 or newer and its venv module.
PYTHON ?= python3
DEMO := .venv/demo
TEST := .venv/test
DOCS := .venv/docs
PI := .venv/pi/host
BENCH := .venv/bench
PEERS := .venv/peers
RELEASE := .venv/release
OLDEST := .venv/oldest
TFLITE := .venv/peers-tflite
# tflite-runtime stopped at Python 3.11.
OLD_PYTHON ?= $(shell for p in $(PYTHON) python3.11 python3.10; do \
	$$p -c 'import sys; sys.exit(sys.version_info >= (3, 12))' 2>/dev/null && echo $$p && break; done)

# All that a 64-bit Raspberry Pi needs, without a connection there: PY=3.11 is for bookworm, PY=3.13 for trixie.
PY ?= 3.11
WHEELHOUSE := wheelhouse/arm64-$(PY)
EXTRAS ?= dicom,watch
ARM64 := $(addprefix --platform manylinux_2_,28_aarch64 27_aarch64 17_aarch64) --platform manylinux2014_aarch64
PIP := .venv/wheelhouse/bin/python -m pip --quiet --disable-pip-version-check

.PHONY: demo test test-fast test-slow test-oldest fuzz mutants lock release lint docs bench bench-check bench-peers wheelhouse-arm64 pi clean

demo: $(DEMO)/.done
	$(DEMO)/bin/python examples/demo.py demo

test: $(TEST)/.done
	$(TEST)/bin/python -m pytest -m "not slow" --numprocesses auto --dist loadfile

# What needs no TensorFlow, no Ray, no browser and no server: about a minute on two cores.
test-fast: $(TEST)/.done
	$(TEST)/bin/python -m pytest -m "not (slow or external or browser or training)" --numprocesses auto --dist loadfile

# What takes a quarter of an hour more: trainings from end to end, a browser, programs that are killed again and again.
test-slow: $(TEST)/.done
	$(TEST)/bin/python -m pytest -m slow --numprocesses auto --dist load

# Fuzzing led by coverage, so many seconds a target (Linux; SEED 0: another way each time); what breaks a reader is left in build/fuzz.
SECONDS ?= 60
SEED ?= 0
fuzz: $(TEST)/.done
	$(TEST)/bin/python -m pip install --quiet --disable-pip-version-check -e '.[fuzz]'
	for target in picture dicom archive manifest sealed settings queue multipart; do mkdir -p build/fuzz/$$target && \
	    $(TEST)/bin/python benchmarks/fuzz_coverage.py $$target build/fuzz/$$target -max_total_time=$(SECONDS) -seed=$(SEED) \
	    -artifact_prefix=build/fuzz/$$target- -print_final_stats=0 -verbosity=0 || exit 1; done

# Mutation testing of the rules and the arithmetic (pyproject.toml, tool.mutmut); hours. ARGS='covidnet_lite.network.guard*'
mutants: $(TEST)/.done
	$(TEST)/bin/python -m pip install --quiet --disable-pip-version-check -e '.[mutants]'
	$(TEST)/bin/mutmut run --max-children 1 $(ARGS)
	$(TEST)/bin/mutmut results

# The library and the node's queue with the lowest versions that setup.py allows; PYTHON must be 3.10.
test-oldest: $(OLDEST)/.done
	$(OLDEST)/bin/python -m pytest -m "not slow" tests/network tests/image_in tests/dicom_in tests/evidence tests/dicom_out \
	    tests/node/test_queue.py tests/test_classifier.py tests/test_cli.py tests/test_prediction.py tests/test_radiograph.py

# Wheel, bill of materials and checksums in dist/, of the commit that is checked out; KEY=release.pem signs the checksums.
release: $(RELEASE)/.done
	$(RELEASE)/bin/python -m release.build $(if $(KEY),--key $(KEY))

# The versions in requirements/, anew, with their hashes; then whether each has a wheel wherever its file is for.
LOCK := $(RELEASE)/bin/uv pip compile --upgrade --generate-hashes --no-emit-index-url --no-header --quiet -c requirements/bounds.in
WHEELS := $(RELEASE)/bin/uv pip install --quiet --dry-run --only-binary :all: --require-hashes --target build/none
lock: $(RELEASE)/.done
	$(LOCK) --universal --python-version 3.10 setup.py requirements/build.in requirements/demo.in --extra dicom \
	    -o requirements/demo.txt
	$(LOCK) --universal --python-version 3.10 setup.py requirements/build.in --extra dicom --extra heic --extra mqtt \
	    --extra node --extra web -o requirements/services.txt
	$(LOCK) --universal --python-version 3.10 requirements/release.in -o requirements/release.txt
	$(LOCK) --python-version 3.11 --python-platform linux setup.py requirements/build.in --extra test --extra lint \
	    -o requirements/test.txt
	$(LOCK) --python-version 3.10 --python-platform linux --resolution lowest-direct setup.py requirements/oldest.in \
	    --extra dicom --extra mqtt --extra node --extra web -o requirements/oldest.txt
	for python in 3.10 3.11 3.12 3.13; do for machine in x86_64 aarch64; do for file in demo services; do \
	    echo "$$file, Python $$python, $$machine"; \
	    $(WHEELS) --python-version $$python --python-platform $$machine-manylinux_2_28 -r requirements/$$file.txt || exit 1; \
	done; done; done
	$(RELEASE)/bin/python -m pip install --quiet --dry-run --ignore-installed --only-binary :all: --require-hashes \
	    -r requirements/services.txt

lint: $(TEST)/.done
	$(if $(LOCKED),,$(TEST)/bin/python -m pip install --quiet --disable-pip-version-check -e '.[lint]')
	$(TEST)/bin/ruff check .
	$(TEST)/bin/ruff format --check .
	$(TEST)/bin/mypy
	$(TEST)/bin/lint-imports

# The documentation as a site, in build/site; a broken link fails.
docs: $(DOCS)/.done
	NO_MKDOCS_2_WARNING=1 $(DOCS)/bin/mkdocs build

# ARGS=--quick shows in a minute that they work; on an idle machine, and without it, they measure.
bench: $(BENCH)/.done
	$(BENCH)/bin/python benchmarks/bench.py $(ARGS)

bench-check: $(BENCH)/.done
	$(BENCH)/bin/python benchmarks/bench.py --check $(ARGS)

bench-peers: $(PEERS)/.done $(TFLITE)/.done
	$(PEERS)/bin/python benchmarks/peers.py --old-python $(TFLITE)/bin/python $(ARGS)

# Under another name until it is whole. build/ goes first, or files deleted since would be packed again.
wheelhouse-arm64:
	$(PYTHON) -m venv .venv/wheelhouse
	rm -rf build $(WHEELHOUSE).part
	$(PIP) wheel --no-deps --wheel-dir $(WHEELHOUSE).part .
	$(PIP) download --only-binary=:all: $(ARM64) --python-version $(PY) --implementation cp \
	    --dest $(WHEELHOUSE).part "$$(echo $(WHEELHOUSE).part/covidnet_lite-*.whl)[$(EXTRAS)]"
	cp examples/raspberry_pi/* examples/watch/* $(WHEELHOUSE).part
	cd $(WHEELHOUSE).part && sha256sum * > SHA256SUMS
	rm -rf $(WHEELHOUSE)
	mv $(WHEELHOUSE).part $(WHEELHOUSE)
	ls -l $(WHEELHOUSE)

# On emulated Raspberry Pis; needs Debian on x86-64, and root where gcc is not installed. ARGS=--write renews the reference.
pi: $(PI)/.done
	$(PI)/bin/python -m benchmarks.raspberry_pi $(ARGS)

# What is installed in each environment; with LOCKED=1, in demo and test, the versions of requirements/ and nothing else.
$(DEMO)/.done: WANTED := -e '.[dicom]' pydicom-data==1.0.0
$(TEST)/.done: WANTED := -e '.[test]'
$(DOCS)/.done: WANTED := '.[docs]'
$(BENCH)/.done: WANTED := -e '.[bench]'
$(PEERS)/.done: WANTED := -e '.[peers]'
$(PI)/.done: WANTED := -r benchmarks/raspberry_pi/requirements.txt 'setuptools>=77' 'pydicom>=3.0' pydicom-data==1.0.0

$(PI)/.done: benchmarks/raspberry_pi/requirements.txt
$(DEMO)/.done $(TEST)/.done $(DOCS)/.done $(BENCH)/.done $(PEERS)/.done: setup.py

ifdef LOCKED
$(DEMO)/.done: WANTED := --require-hashes -r requirements/demo.txt
$(TEST)/.done: WANTED := --require-hashes -r requirements/test.txt
$(DEMO)/.done $(TEST)/.done: OURS := --no-deps --no-build-isolation -e .
endif
$(RELEASE)/.done: WANTED := --require-hashes -r requirements/release.txt
$(OLDEST)/.done: WANTED := --require-hashes -r requirements/oldest.txt

$(DEMO)/.done $(TEST)/.done $(DOCS)/.done $(BENCH)/.done $(PEERS)/.done $(PI)/.done $(RELEASE)/.done $(OLDEST)/.done:
	$(PYTHON) -m venv $(@D)
	$(@D)/bin/python -m pip install --quiet --disable-pip-version-check $(WANTED)
	$(if $(OURS),$(@D)/bin/python -m pip install --quiet --disable-pip-version-check $(OURS))
	touch $@

# Where it cannot be had, the comparison goes on without and says so.
$(TFLITE)/.done: setup.py
	mkdir -p $(TFLITE)
	-test -n '$(OLD_PYTHON)' && $(OLD_PYTHON) -m venv $(TFLITE) && $(TFLITE)/bin/python -m pip install --quiet \
		--disable-pip-version-check tflite-runtime==2.14.0 'numpy<2' Pillow pydicom
	touch $@

clean:
	rm -rf .venv build *.egg-info demo runs wheelhouse
