# What a review tried to break, one test a finding, and what programs remember: on the harness of the order rules.
FOUND_TESTS := $(addprefix $(BUILD)/tests/,found_test memo_test memory_test)

$(FOUND_TESTS): $(BUILD)/tests/%: tests/order/%.c tests/order/harness.c tests/order/harness.h tests/order/steps.h $(BUILD)/lib/datapath.a $(ORDER_LIBS)
	@mkdir -p $(@D)
	$(CC) $(CPPFLAGS) -I$(BUILD)/gen/proto -Itests/order $(CFLAGS) -o $@ $(filter %.c,$^) -Wl,--start-group $(BUILD)/lib/datapath.a $(ORDER_LIBS) -Wl,--end-group $(LDLIBS) -lcmocka

.PHONY: found
found: $(FOUND_TESTS) ## Test what a review of the order rules found (root)
	@failed=0; for t in $^; do echo "== $$t"; $$t || failed=1; done; exit $$failed
