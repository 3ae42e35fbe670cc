# The order rules: a hand-driven worker over the real programs, and the same with one guard compiled out at a time.
ORDER_LIBS := $(patsubst %,$(BUILD)/lib/%.a,base regex kube mesh dns compile) $(BUILD)/lib/proto.a
ORDER_SRC  := tests/order/harness.c tests/order/order_test.c tests/order/blocking.c
GUARDS     := drained handover completeness dead_slots send_room netns_check arrived redirect_limit blocking abandoned
# Those that the proxy keeps (mk/unit-guards.mk).
PROXY_GUARDS := proxy_waits fin_last

$(BUILD)/tests/order_test: $(ORDER_SRC) tests/order/harness.h tests/order/steps.h tests/order/blocking.h $(BUILD)/lib/datapath.a $(ORDER_LIBS)
	@mkdir -p $(@D)
	$(CC) $(CPPFLAGS) -I$(BUILD)/gen/proto -Itests/order $(CFLAGS) -o $@ $(ORDER_SRC) -Wl,--start-group $(BUILD)/lib/datapath.a $(ORDER_LIBS) -Wl,--end-group $(LDLIBS) -lcmocka

.PHONY: order order-guards
order: $(BUILD)/tests/order_test ## Test the order rules on the real programs (root)
	$<

order-guards: $(BUILD)/tests/order_test $(PROXY_GUARDS:%=$(BUILD)/guards/%/order_test) ## Show that each order rule's test fails without its guard (root)
	tests/order/guards.sh $(BUILD) $(GUARDS) --built $(PROXY_GUARDS)

# How order_test is linked, for guards.sh, which links it with another datapath library.
.PHONY: print-order-link
print-order-link:
	@echo '$(CC) $(CPPFLAGS) -I$(BUILD)/gen/proto -Itests/order $(CFLAGS) -o $(OUT) $(ORDER_SRC) -Wl,--start-group $(DATAPATH) $(ORDER_LIBS) -Wl,--end-group $(LDLIBS) -lcmocka' | sed 's/-DWEFT_VERSION="[^"]*"//'
