.PHONY: deps
deps: ## Install the Debian packages that building and testing need (root)
	scripts/deps.sh
