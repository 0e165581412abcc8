# The commands a person types. `make demo` and `make test` need git, make and python3 with venv, nothing else.
.DEFAULT_GOAL := help
.PHONY: help demo test bench trace lint types clean

help: ## show this list
	@awk -F':.*## ' '/^[a-z]+:.*## /{printf "  make %-7s %s\n", $$1, $$2}' Makefile

demo: ## the whole chain on this machine, from meter to money; ARGS="--headless --days 2 --report demo.json"
	@sh packaging/bootstrap.sh demo
	@.venv/bin/python packaging/demo/demo.py $(ARGS)

test: ## install what the tests need and run everything
	@sh packaging/test.sh

bench: ## measure against peers in the same run, as ratios
	@sh packaging/bootstrap.sh bench
	@.venv/bin/python packaging/bench.py $(ARGS)

trace: ## which requirement is shown by which passing test (after `make test`)
	@.venv/bin/python tests/trace.py

lint: ## ruff
	@.venv/bin/ruff check shared native edge cloud packaging tests

types: ## mypy
	@.venv/bin/mypy

clean: ## remove the environment and what was built
	rm -rf .venv build *.egg-info artefacts native/gridtally_native/*.so native/gridtally_native/_kernel.c
