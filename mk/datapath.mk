# The datapath as the daemon uses it, in the running kernel: features and their fallbacks, what is pinned and cleared away.
DATAPATH_TESTS := $(patsubst tests/datapath/%.c,$(BUILD)/tests/datapath/%,$(sort $(wildcard tests/datapath/*_test.c)))
DATAPATH_LIBS  := $(patsubst %,$(BUILD)/lib/%.a,datapath compile dns mesh kube regex base proto)

$(BUILD)/tests/datapath/%_test: tests/datapath/%_test.c $(DATAPATH_LIBS)
	@mkdir -p $(@D)
	$(CC) $(CPPFLAGS) $(CFLAGS) -MMD -MP -o $@ $< -Wl,--start-group $(DATAPATH_LIBS) -Wl,--end-group $(LDLIBS) -lcmocka

-include $(DATAPATH_TESTS:=.d)

.PHONY: datapath-test datapath-test-kernel
datapath-test: $(DATAPATH_TESTS) ## Test features, fallbacks and pins on the real programs (root)
	@failed=0; for t in $(DATAPATH_TESTS); do timeout 120 $$t || failed=1; done; exit $$failed

datapath-test-kernel: $(DATAPATH_TESTS) ## The same in another kernel: KERNEL=/boot/vmlinuz-... APPEND="lockdown=confidentiality"
	APPEND="$(APPEND)" timeout 420 tests/kernels/boot.sh "$(KERNEL)" 400 "( failed=0; for t in $(DATAPATH_TESTS); do \$$t || failed=1; done; exit \$$failed )" $^
