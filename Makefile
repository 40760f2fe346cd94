PYTHON ?= python

.PHONY: test lint deep faults bench bench8 golden clean

# Every test of a push, on two cores.
test:
	$(PYTHON) -m pytest -n 2

# Style and types, as CI checks them.
lint:
	$(PYTHON) -m ruff check . && $(PYTHON) -m mypy --strict

# The slow checks: thousands of random layers and the like.
deep:
	$(PYTHON) -m pytest -n 2 -m deep

# Real faults and reproducible bytes alone: 200 killed builds, full disks, another Python's bytes.
faults:
	$(PYTHON) -m pytest -m 'deep or not deep' tests/test_faults.py tests/test_threats.py tests/test_reproducible.py

# The README's table and what a call from Python costs; wants a quiet machine. Peers that live in
# another environment: make bench BENCH="--peer-python torch=PATH".
bench:
	$(PYTHON) -m convgen bench benchmarks/layers.yaml --against all --save benchmarks/results.json $(BENCH)
	$(PYTHON) benchmarks/publish.py
	$(PYTHON) benchmarks/call_overhead.py

# The same layers in int8, and what each rounding costs.
bench8:
	$(PYTHON) -m convgen bench benchmarks/layers_int8.yaml --against all --save benchmarks/results_int8.json $(BENCH)
	$(PYTHON) benchmarks/publish.py
	$(PYTHON) benchmarks/rounding.py --markdown benchmarks/rounding.md

# Write the committed expectations and generated pages anew, to be looked at with git diff.
golden:
	$(PYTHON) -m pytest -q --update-golden

# What builds, tests and tools left behind.
clean:
	rm -rf build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
