# The proxy's test of the order of bytes, without one of its guards: that one file is compiled anew and takes the place of the library's.
$(PROXY_GUARDS:%=$(BUILD)/guards/%/order_test): $(BUILD)/guards/%/order_test: tests/unit/proxy/order_test.c daemon/proxy/order.c \
		$(patsubst %,$(BUILD)/lib/%.asan.a,$(call stage_and_before,proxy)) $(BUILD)/lib/proto.asan.a
	@mkdir -p $(@D)
	$(CC) $(CPPFLAGS) -DWEFT_WITHOUT_$(shell echo $* | tr a-z A-Z) -I$(BUILD)/gen/proto -Itests/unit $(CFLAGS) $(SANITIZE) -Wno-missing-prototypes -o $@ \
		$(filter %.c,$^) -Wl,--start-group $(filter %.a,$^) -Wl,--end-group $(LDLIBS) -lcmocka
