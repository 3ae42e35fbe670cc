# Everything that proves weft. Each part is a target of its own; all of them run even if one fails, as many at a time as there are processors.
# Most wait more than they compute; what takes longest begins first, after the check, which takes seconds.
TEST_PARTS := check e2e-together torture-test unit conformance torture-ipv6-test torture-liar conformance-decorated order-guards xds-test datapath-test xds-protos found bpf-test order golden replay test-kube test-deploy fuzz-seeds
# What measures the whole machine.
TEST_PARTS_ALONE := e2e-alone

# What the parts would build, each for itself and at the same time.
TEST_PROGRAMS = next $(UNIT_BIN) $(GOLDEN) $(DATAPATH_TESTS) $(ENGINE_TESTS) $(ENGINE_BPF) $(BUILD)/tests/datapath/budget_test $(BUILD)/tests/order_test $(FOUND_TESTS) \
	$(TORTURE_BIN) $(KUBE_RECORDINGS) $(KUBE_PLACE) $(CONFORMANCE) $(XDS_TALK) $(XDS_VENV)/.stamp $(FUZZ_SEEDS_BIN) $(PROXY_GUARDS:%=$(BUILD)/guards/%/order_test)

.PHONY: test
test: deps ## Run all tests (root): check, unit, golden, in the kernel, what Envoy did, order rules, end to end, torture
	@$(MAKE) --no-print-directory -j$(JOBS) all
	@$(MAKE) --no-print-directory -j$(JOBS) -k $(TEST_PROGRAMS) || true # whose part then says so
	+@BUILD=$(BUILD) tests/parts.sh $(JOBS) $(TEST_PARTS) -- $(TEST_PARTS_ALONE)
