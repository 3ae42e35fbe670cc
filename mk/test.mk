# Everything that proves weft, in the order of what it costs. Each part is a target of its own; all of them run even if one fails.
TEST_PARTS := check unit golden replay bpf-test datapath-test conformance order order-guards found xds-protos xds-test e2e torture-test

# What the parts would build one after the other.
TEST_PROGRAMS = next $(UNIT_BIN) $(GOLDEN) $(DATAPATH_TESTS) $(ENGINE_TESTS) $(ENGINE_BPF) $(BUILD)/tests/order_test $(FOUND_TESTS) $(TORTURE_BIN)

.PHONY: test
test: deps ## Run all tests (root): check, unit, golden, in the kernel, what Envoy did, order rules, end to end, torture
	@$(MAKE) --no-print-directory -j$(JOBS) all
	@$(MAKE) --no-print-directory -j$(JOBS) -k $(TEST_PROGRAMS) || true # whose part then says so
	@failed=; \
	for part in $(TEST_PARTS); do \
		echo "== $$part"; \
		start=$$SECONDS; \
		$(MAKE) --no-print-directory -j$(JOBS) $$part || failed="$$failed $$part"; \
		echo "== $$part: $$((SECONDS - start)) s"; \
	done; \
	if [ -n "$$failed" ]; then echo "FAILED:$$failed"; exit 1; fi; \
	echo "all of $(words $(TEST_PARTS)) parts passed"
