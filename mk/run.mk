# Commands that run weft on this machine. All share tests/topology/topology.sh; BUILD is handed down to the scripts.
.PHONY: deps
deps: ## Install the Debian packages that building and testing need (root)
	scripts/deps.sh

.PHONY: e2e e2e-together e2e-alone
e2e e2e-together e2e-alone: all next
e2e: ## Run the end-to-end tests (root; E2E="routing reload": only those)
	BUILD=$(abspath $(BUILD)) tests/e2e/run.sh $(E2E)
# Two halves: `# Runs alone` in a test says which.
e2e-together:
	BUILD=$(abspath $(BUILD)) E2E_WHICH=together tests/e2e/run.sh
e2e-alone:
	BUILD=$(abspath $(BUILD)) E2E_WHICH=alone tests/e2e/run.sh

.PHONY: demo
demo: deps ## Show HTTP requests routed in the kernel (root)
	@$(MAKE) --no-print-directory -j$(JOBS) all
	BUILD=$(abspath $(BUILD)) demo/demo.sh

.PHONY: bench
bench: all ## Measure against direct, HAProxy, nginx and Envoy (root; QUICK=1: under a minute)
	BUILD=$(abspath $(BUILD)) QUICK=$(QUICK) ROUNDS=$(ROUNDS) DURATION=$(DURATION) python3 bench/bench.py

.PHONY: bench-idle
bench-idle: COUNT = 50000
bench-idle: all ## Measure what an idle captured connection costs in daemon and maps (root; COUNT=connections)
	BUILD=$(abspath $(BUILD)) bench/idle/idle.sh $(COUNT)
