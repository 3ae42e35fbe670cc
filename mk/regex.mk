# What google-re2 said about generated patterns (tests/data/regex), against the google-re2 that is installed: pip install google-re2.
PYTHON ?= python3

.PHONY: regex-check
regex-check: ## Compare what RE2 said about generated patterns with an installed google-re2
	$(PYTHON) tests/data/regex/record.py --check
