# The project's commands. `check` is the one list of linters and formatters: pre-commit, the tests and continuous
# integration take it from here. A recipe of a check is one line, which tests/test_style.py runs without make too.
export PATH := $(CURDIR)/.envs/workflow/bin:$(PATH)
CHECKS = lint format types rules shell spelling

.PHONY: help setup demo test check report $(CHECKS)
help: ## say what can be made
	@grep -hE '^[a-z]+:.* ## ' Makefile | sed 's/:.* ## /\t/'

setup: ## set up the workflow's environment in .envs/workflow
	./scripts/setup.sh

demo: setup ## run the demo: data, three trainings, predictions, results/metrics.tsv
	snakemake results/metrics.tsv --cores all

test: setup ## run all tests, the engines included
	python -m pytest -n 2

report: setup ## put the results into one page: report.html
	snakemake report --cores all
	snakemake report --report report.html

check: $(CHECKS) ## run every linter and formatter

lint: ## find mistakes in Python
	ruff check .
format: ## Python's format
	ruff format --check .
types: ## Python's types
	mypy
rules: ## the rules' format
	snakefmt --check Snakefile rules
shell: ## the shell scripts' format
	git ls-files '*.sh' .ci/run | xargs shfmt --diff --indent 4
spelling: ## misspelt English words in all text
	git ls-files | xargs codespell
