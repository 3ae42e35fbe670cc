# tests/unit/<stage>/<name>_test.c links the sanitized libraries of that stage and of those before it; tests/unit/engine needs none.
UNIT_SRC := $(sort $(wildcard tests/unit/*/*_test.c))
UNIT_BIN := $(patsubst tests/unit/%.c,$(BUILD)/tests/unit/%,$(UNIT_SRC))

stage_and_before = $(if $(filter $(1),$(STAGES)),$(call upto,$(1),$(STAGES)))
upto = $(if $(2),$(firstword $(2)) $(if $(filter $(1),$(firstword $(2))),,$(call upto,$(1),$(wordlist 2,$(words $(2)),$(2)))))

define unit_rule
$(BUILD)/tests/unit/$(1)/%_test: tests/unit/$(1)/%_test.c $$(patsubst %,$(BUILD)/lib/%.asan.a,$$(call stage_and_before,$(1))) $(if $(filter $(1),engine base),,$(BUILD)/lib/proto.asan.a)
	@mkdir -p $$(@D)
	$$(CC) $$(CPPFLAGS) -I$$(BUILD)/gen/proto -Itests/unit $$(CFLAGS) $$(SANITIZE) -Wno-missing-prototypes -MMD -MP -o $$@ $$< -Wl,--start-group $$(filter %.a,$$^) -Wl,--end-group $$(LDLIBS) -lcmocka
endef
$(foreach s,engine $(STAGES),$(eval $(call unit_rule,$(s))))
-include $(UNIT_BIN:=.d)

.PHONY: unit
unit: $(UNIT_BIN) ## Run the unit tests (sanitizers on)
	@failed=0; for t in $(UNIT_BIN); do echo "== $$t"; ASAN_OPTIONS=detect_leaks=1 $$t || failed=1; done; exit $$failed
