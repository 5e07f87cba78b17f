# The project's commands. `check` is the only list of linters and formatters: pre-commit, the tests and continuous
# integration use it. The recipe of a check is one line, because tests/test_style.py also runs it without make.
export PATH := $(CURDIR)/.envs/workflow/bin:$(PATH)
CHECKS = lint format types rules shell spelling

.PHONY: help setup demo test check report $(CHECKS)
help: ## list the targets
	@grep -hE '^[a-z]+:.* ## ' Makefile | sed 's/:.* ## /\t/'

setup: ## set up the workflow's environment in .envs/workflow
	./scripts/setup.sh

demo: setup ## run the demo: data, three trainings, predictions, results/metrics.tsv
	snakemake results/metrics.tsv --cores all

test: setup ## run all tests, the engines included
	python -m pytest

report: setup ## write the results to one page: report.html
	snakemake report --cores all
	snakemake report --report report.html

check: $(CHECKS) ## run every linter and formatter

lint: ## check Python for mistakes
	ruff check .
format: ## check the format of Python
	ruff format --check .
types: ## check the types of Python
	mypy
rules: ## check the format of the rules
	snakefmt --check Snakefile rules
shell: ## check the format of shell scripts
	git ls-files '*.sh' .ci/run | xargs shfmt --diff --indent 4
spelling: ## check all text for misspelt English words
	git ls-files | xargs codespell
