# The commands a person types. `make demo` and `make test` need git, make and python3 with venv, nothing else.
.DEFAULT_GOAL := help
.PHONY: help demo test bench trace fuzz campaign soak resync forecast-report lint types clean

help: ## show this list
	@awk -F':.*## ' '/^[a-z-]+:.*## /{printf "  make %-15s %s\n", $$1, $$2}' Makefile

demo: ## the whole chain on this machine, from meter to money; ARGS="--headless --days 2 --report demo.json"
	@sh packaging/bootstrap.sh demo
	@.venv/bin/python packaging/demo/demo.py $(ARGS)

test: ## install what the tests need and run everything
	@sh packaging/test.sh

bench: ## measure against peers in the same run, as ratios
	@sh packaging/bootstrap.sh bench,interop
	@.venv/bin/python packaging/bench.py $(ARGS)

trace: ## which requirement is shown by which passing test (after `make test`)
	@.venv/bin/python tests/trace.py

fuzz: ## a million spoilt inputs for every decoder (an hour or two); ARGS="--count 100000 --only dlms"
	@sh packaging/bootstrap.sh test
	@cd tests && PYTHONPATH=../shared:../native:../edge:../cloud:. ../.venv/bin/python -m fuzz.attack $(ARGS)

forecast-report: ## how good the forecast of time left is on households it was not taught with (minutes); ARGS="--quick" or "--write"
	@sh packaging/bootstrap.sh test
	@cd tests && PYTHONPATH=../shared:../native:. ../.venv/bin/python -m forecast.report $(ARGS)

campaign: ## 50,000 seeds of a simulated week each, every invariant after every step; goes on where it ended; ARGS="--seeds 1000"
	@sh packaging/bootstrap.sh test
	@PYTHONPATH=tests .venv/bin/python -m simulation.campaign $(ARGS)

soak: ## every C3 figure measured over a lossy link, with numerator and denominator, and a resync of 30 offline days
	@sh packaging/bootstrap.sh test
	@PYTHONPATH=tests .venv/bin/python -m simulation.soak $(ARGS)

resync: ## 30 offline days of 200 meters sent up at last; fails beyond 600 s; ARGS="--days 3 --meters 60"
	@sh packaging/bootstrap.sh test
	@PYTHONPATH=tests .venv/bin/python -m simulation.resync $(ARGS)

lint: ## ruff
	@.venv/bin/ruff check shared native edge cloud packaging tests

types: ## mypy
	@.venv/bin/mypy

clean: ## remove the environment and what was built
	rm -rf .venv build *.egg-info artefacts native/gridtally_native/*.so native/gridtally_native/_kernel.c
