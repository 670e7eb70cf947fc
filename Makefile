# A few words: make try · make demo · make test · make proof · make check · make bench · make space · make static-space
PYTHON ?= python3
GENERATED ?= digits-gan
REFERENCE ?= digits
REPORT ?= report.html
WORKERS ?= 2

.PHONY: help try demo space static-space test proof check bench clean

help:
	@echo "make try      evaluate a shipped example, or GENERATED=dir REFERENCE=dir; writes $(REPORT)"
	@echo "make demo     the page: prints its address"
	@echo "make test     the whole suite, in its own environment"
	@echo "make proof    the heavy evidence: d = 2048 proofs, a million images, interval coverage"
	@echo "make check    formatting, lint, types"
	@echo "make bench    ours beside the peers, in one run on this machine"
	@echo "make space    the page as a Hugging Face Space, in dist/space"
	@echo "make static-space    reports and the playground as a free, static Space, in dist/static-space"

# The runtime alone: no torch, no gradio.
.venv/.ready: pyproject.toml
	$(PYTHON) -m venv .venv
	.venv/bin/python -m pip install --quiet --disable-pip-version-check --editable '.[cpu]'
	touch $@

# The runtime and gradio.
.venv-demo/.ready: pyproject.toml
	$(PYTHON) -m venv .venv-demo
	.venv-demo/bin/python -m pip install --quiet --upgrade 'pip>=25.1'
	.venv-demo/bin/python -m pip install --quiet --disable-pip-version-check --group demo --editable '.[cpu]'
	touch $@

# Everything the suite needs: the workshop (torch), the peers, the tools. About 6 GB, mostly torch.
.venv-test/.ready: pyproject.toml
	$(PYTHON) -m venv .venv-test
	.venv-test/bin/python -m pip install --quiet --upgrade 'pip>=25.1'
	.venv-test/bin/python -m pip install --quiet --disable-pip-version-check \
		--group export --group parity --group demo --group test --group dev --editable '.[cpu]'
	touch $@

try: .venv/.ready
	.venv/bin/genmetrics evaluate '$(GENERATED)' '$(REFERENCE)' --html '$(REPORT)'

demo: .venv-demo/.ready
	.venv-demo/bin/python demo/app.py

space: .venv-demo/.ready
	.venv-demo/bin/python demo/make_space.py dist/space

static-space: .venv/.ready
	.venv/bin/python demo/make_static_space.py dist/static-space

test: .venv-test/.ready
	.venv-test/bin/python -m pytest -n $(WORKERS) --dist loadfile -m "not proof" --durations=15

proof: .venv-test/.ready
	.venv-test/bin/python -m pytest -m proof --durations=15

check: .venv-test/.ready
	.venv-test/bin/ruff format --check .
	.venv-test/bin/ruff check .
	.venv-test/bin/mypy

bench: .venv-test/.ready
	.venv-test/bin/python -m tests.benchmarks

clean:
	rm -rf .venv .venv-demo .venv-test report.html
