# What a review tried to break, one test a finding, and what programs remember: on the harness of the order rules.
FOUND_TESTS := $(addprefix $(BUILD)/tests/,found_test memo_test memory_test rest_test)

# Programs that don't ask for memory first, for the test of what becomes of half a message: only the datapath holds them.
HALVES := $(BUILD)/guards/socket_memory
$(HALVES)/lib/datapath.a: $(BUILD)/lib/datapath.a
	@mkdir -p $(@D)
	$(MAKE) --no-print-directory -s BUILD=$(HALVES) EXTRA_BPF_CFLAGS=-DWEFT_WITHOUT_SOCKET_MEMORY EXTRA_CPPFLAGS=-I$(BUILD)/gen $@

$(BUILD)/tests/rest_test: DATAPATH := $(HALVES)/lib/datapath.a
$(BUILD)/tests/rest_test: $(HALVES)/lib/datapath.a
$(FOUND_TESTS): DATAPATH ?= $(BUILD)/lib/datapath.a
$(FOUND_TESTS): $(BUILD)/tests/%: tests/order/%.c tests/order/harness.c tests/order/harness.h tests/order/steps.h $(BUILD)/lib/datapath.a $(ORDER_LIBS)
	@mkdir -p $(@D)
	$(CC) $(CPPFLAGS) -I$(BUILD)/gen/proto -Itests/order $(CFLAGS) -o $@ $(filter %.c,$^) -Wl,--start-group $(DATAPATH) $(ORDER_LIBS) -Wl,--end-group $(LDLIBS) -lcmocka

.PHONY: found
found: $(FOUND_TESTS) ## Test what a review of the order rules found (root)
	@failed=0; for t in $^; do echo "== $$t"; $$t || failed=1; done; exit $$failed
