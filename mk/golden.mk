# tests/golden/<case>/in.yaml -> dump, compared with expected.txt. `make golden UPDATE=1` writes the expectations; CASE=name runs one.
GOLDEN      := $(BUILD)/tests/golden/golden
GOLDEN_LIBS := $(foreach s,compile dns mesh kube regex base,$(BUILD)/lib/$(s).asan.a) $(BUILD)/lib/proto.asan.a

$(GOLDEN): tests/golden/golden.c $(GOLDEN_LIBS)
	@mkdir -p $(@D)
	$(CC) $(CPPFLAGS) -I$(BUILD)/gen/proto $(CFLAGS) $(SANITIZE) -MMD -MP -o $@ $< -Wl,--start-group $(GOLDEN_LIBS) -Wl,--end-group $(LDLIBS)
-include $(GOLDEN).d

.PHONY: golden
golden: $(GOLDEN) ## Compile known configurations and compare the dumps (UPDATE=1 rewrites, CASE=name runs one)
	@mkdir -p $(BUILD)/tests/golden/found
	@$(GOLDEN) $(if $(UPDATE),--update) tests/golden $(BUILD)/tests/golden/found $(CASE)
