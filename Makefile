# The project's commands. `check` lists all linters and formatters for pre-commit, the tests and continuous integration.
# The recipe of a check is one line, because tests/test_style.py runs it without make.
export PATH := $(CURDIR)/.envs/workflow/bin:$(PATH)
CHECKS = lint format types rules shell spelling

.PHONY: help setup demo test check report $(CHECKS)
help: ## list the targets
	@grep -hE '^[a-z]+:.* ## ' Makefile | sed 's/:.* ## /\t/'

setup: ## set up the workflow's environment in .envs/workflow
	./scripts/setup.sh

demo: setup ## run the demo: data, three trainings, predictions, results/metrics.tsv
	snakemake results/metrics.tsv --cores all

test: setup ## run all tests, also those of the engines
	python -m pytest

report: setup ## write the report: report.html
	snakemake report --cores all
	snakemake report --report report.html

check: $(CHECKS) ## run every linter and formatter

lint: ## find mistakes in Python code
	ruff check .
format: ## check the format of Python code
	ruff format --check .
types: ## check the types of Python code
	mypy
rules: ## check the format of the rules
	snakefmt --check Snakefile rules
shell: ## check the format of shell scripts
	git ls-files '*.sh' .ci/run | xargs shfmt --diff --indent 4
spelling: ## find misspelt English words in all files
	git ls-files | xargs codespell
