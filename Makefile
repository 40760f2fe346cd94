PYTHON ?= python

.PHONY: test lint deep faults prove mutants campaign hostile bench bench-nchw bench8 bench16 golden golden-full clean

# Every test of a push, on two cores.
test:
	$(PYTHON) -m pytest -n 2

# Style and types, as CI checks them.
lint:
	$(PYTHON) -m ruff check . && $(PYTHON) -m mypy --strict

# The slow checks, an hour or two: the deep tests, 20,000 random layers, 100,000 hostile specs.
deep: campaign hostile
	$(PYTHON) -m pytest -n 2 -m deep

# Real faults and reproducible bytes alone: 200 killed builds, full disks, another Python's bytes.
faults:
	$(PYTHON) -m pytest -m 'deep or not deep' tests/package/test_faults.py tests/package/test_threats.py tests/package/test_reproducible.py

# Random layers of the whole grid against the oracle. Stop it at any time, it goes on where it was;
# failures come out shrunk. CAMPAIGN="--seed 7 --count 1000 --jobs 4 --state DIR", or "--status".
campaign:
	PYTHONPATH=tests/support:. $(PYTHON) -m campaign $(CAMPAIGN)

# Random, damaged and malicious spec files for the front end, and 50,000 damaged model files for the
# importers, within bounds of time and memory.
hostile:
	PYTHONPATH=tests/support:. $(PYTHON) -m hostile $(HOSTILE)
	PYTHONPATH=tests/importers:. $(PYTHON) -m damaged

# frama-c on every spec of specs/, for this machine and for one file with every body of x86-64, and
# on 250 bodies of generated layers; about ten minutes.
prove:
	$(PYTHON) -m convgen prove specs/*.yaml
	$(PYTHON) -m convgen prove --target x86-64 specs/*.yaml
	$(PYTHON) -m convgen prove --timeout 1800 specs/networks/*.yaml
	PYTHONPATH=tests/support:. $(PYTHON) tests/support/provable.py 0 250

# Every mutant of tests/mutants.toml in a copy of the tree, killed or not; about 20 minutes. Only
# some: make mutants MUTANTS="winograd planar".
mutants:
	$(PYTHON) tests/mutation.py $(MUTANTS)

# The README's table and what a call from Python costs; wants a quiet machine. Peers that live in
# another environment: make bench BENCH="--peer-python torch=PATH".
bench: bench-nchw
	$(PYTHON) -m convgen bench benchmarks/layers.yaml --against all --save benchmarks/results.json $(BENCH)
	$(PYTHON) benchmarks/publish.py
	$(PYTHON) benchmarks/call_overhead.py

# The same layers in NCHW, beside peers that get NCHW images.
bench-nchw:
	$(PYTHON) -m convgen bench benchmarks/layers_nchw.yaml --against all --save benchmarks/results_nchw.json $(BENCH)
	$(PYTHON) benchmarks/publish.py

# The same layers in int8, and what each rounding costs.
bench8:
	$(PYTHON) -m convgen bench benchmarks/layers_int8.yaml --against all --save benchmarks/results_int8.json $(BENCH)
	$(PYTHON) benchmarks/publish.py
	$(PYTHON) benchmarks/rounding.py --markdown benchmarks/rounding.md

# The same layers in bfloat16 beside PyTorch, and element types beside float32.
bench16:
	$(PYTHON) -m convgen bench benchmarks/layers_bf16.yaml --against torch --save benchmarks/results_bf16.json $(BENCH)
	$(PYTHON) benchmarks/publish.py
	$(PYTHON) benchmarks/element_types.py --markdown benchmarks/element_types.md

# Write the committed expectations and generated pages anew, to be looked at with git diff.
golden:
	$(PYTHON) -m pytest -q --update-golden

# Digests of the C of every target and layer, written anew; a few minutes. Whoever moved code and
# meant no change: python tests/golden_hashes.py --check, or with --all (its head says how).
golden-full:
	$(PYTHON) tests/golden_hashes.py --update

# What builds, tests and tools left behind.
clean:
	rm -rf build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
