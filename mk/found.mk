# What a review tried to break, one test a finding: on the harness of the order rules.
FOUND_SRC := tests/order/harness.c tests/order/found_test.c

$(BUILD)/tests/found_test: $(FOUND_SRC) tests/order/harness.h $(BUILD)/lib/datapath.a $(ORDER_LIBS)
	@mkdir -p $(@D)
	$(CC) $(CPPFLAGS) -I$(BUILD)/gen/proto -Itests/order $(CFLAGS) -o $@ $(FOUND_SRC) -Wl,--start-group $(BUILD)/lib/datapath.a $(ORDER_LIBS) -Wl,--end-group $(LDLIBS) -lcmocka

.PHONY: found
found: $(BUILD)/tests/found_test ## Test what a review of the order rules found (root)
	$<
