# What needs neither compiler nor kernel: order of includes, length of files, unfinished work, licences.
.PHONY: check
check: ## Check includes, file lengths, unfinished work and licences
	tests/check/self_test.sh
	tests/check/check.sh . $(STAGES)
