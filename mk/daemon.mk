# One static library a stage; weftd and weftctl link them. A second set of libraries is built with sanitizers for unit tests.
define stage_rules
LIB_$(1)_SRC := $$(sort $$(wildcard daemon/$(1)/*.c))
LIB_$(1)_OBJ := $$(patsubst %.c,$$(BUILD)/obj/%.o,$$(LIB_$(1)_SRC))
LIB_$(1)_ASAN := $$(patsubst %.c,$$(BUILD)/asan/%.o,$$(LIB_$(1)_SRC))
$$(BUILD)/lib/$(1).a: $$(LIB_$(1)_OBJ)
	@mkdir -p $$(@D); rm -f $$@
	$$(AR) rcs $$@ $$^
$$(BUILD)/lib/$(1).asan.a: $$(LIB_$(1)_ASAN)
	@mkdir -p $$(@D); rm -f $$@
	$$(AR) rcs $$@ $$^
ALL_OBJECTS += $$(LIB_$(1)_OBJ) $$(LIB_$(1)_ASAN)
endef
$(foreach s,$(STAGES),$(eval $(call stage_rules,$(s))))

PROTO_OBJ  := $(patsubst $(BUILD)/gen/%.c,$(BUILD)/obj/gen/%.o,$(PROTO_C))
# Generated: tables above all, which nobody steps through and sanitizers say nothing of.
GEN_CFLAGS := -O1 -g0 -Wno-unused-parameter -Wno-missing-prototypes -Wno-shadow -Wno-strict-prototypes

$(BUILD)/lib/proto.a: $(PROTO_OBJ)
	@mkdir -p $(@D); rm -f $@
	$(AR) rcs $@ $^
$(BUILD)/lib/proto.asan.a: $(BUILD)/lib/proto.a
	cp $< $@

$(BUILD)/obj/gen/%.o: $(BUILD)/gen/%.c
	@mkdir -p $(@D)
	$(CC) $(CPPFLAGS) -I$(BUILD)/gen/proto $(CFLAGS) $(GEN_CFLAGS) -c $< -o $@

# Who takes over a running weftd's connections must have its very layout, whatever WEFT_ABI_VERSION says. LAYOUT_SALT makes another one of the same files.
LAYOUT_SALT ?=
ABI_FILES := $(addprefix include/weft/,abi.h address.h balance.h exceptions.h head.h image.h image_policies.h reason.h traffic.h) bpf/maps.h bpf/memo.h bpf/kernel.h daemon/keeper/table.h daemon/keeper/pass.h
$(BUILD)/gen/abi_layout.h: $(ABI_FILES) scripts/abi-layout.sh
	scripts/abi-layout.sh $@ "$(LAYOUT_SALT)" $(ABI_FILES)
NEED_LAYOUT := main.o keeper/succeed.o $(addprefix datapath/,datapath.o replace.o) $(addprefix worker/,beside.o status.o succession.o)
$(foreach d,obj asan,$(addprefix $(BUILD)/$(d)/daemon/,$(NEED_LAYOUT))): $(BUILD)/gen/abi_layout.h
$(BUILD)/tests/unit/keeper/pass_test: $(BUILD)/gen/abi_layout.h

# Generated headers must exist before the first compile; after that the .d files say who needs them.
NEEDS_SKELETON := datapath
$(foreach s,$(filter-out base,$(STAGES)),$(eval $(BUILD)/obj/daemon/$(s)/%.o $(BUILD)/asan/daemon/$(s)/%.o: | $(PROTO_STAMP)))
$(BUILD)/obj/daemon/datapath/%.o $(BUILD)/asan/daemon/datapath/%.o: | $(BPF_SKELETONS)

$(BUILD)/obj/%.o: %.c
	@mkdir -p $(@D)
	$(CC) $(CPPFLAGS) -I$(BUILD)/gen/proto $(CFLAGS) -MMD -MP -c $< -o $@
$(BUILD)/asan/%.o: %.c
	@mkdir -p $(@D)
	$(CC) $(CPPFLAGS) -I$(BUILD)/gen/proto $(CFLAGS) $(SANITIZE) -MMD -MP -c $< -o $@

# datapath objects include the skeleton, so they need it first
$(LIB_datapath_OBJ) $(LIB_datapath_ASAN): | $(BPF_SKELETONS)
$(foreach s,$(filter-out base,$(STAGES)),$(eval $$(LIB_$(s)_OBJ) $$(LIB_$(s)_ASAN): | $$(PROTO_STAMP)))

# libraries from the last stage to the first, as the linker wants them
reverse = $(if $(1),$(call reverse,$(wordlist 2,$(words $(1)),$(1))) $(firstword $(1)))
WEFTD_LIBS := $(patsubst %,$(BUILD)/lib/%.a,$(call reverse,$(STAGES))) $(BUILD)/lib/proto.a

$(BUILD)/weftd: $(BUILD)/obj/daemon/main.o $(WEFTD_LIBS)
	$(CC) $(CFLAGS) -o $@ $< -Wl,--start-group $(WEFTD_LIBS) -Wl,--end-group $(LDLIBS)
$(BUILD)/obj/daemon/main.o: | $(PROTO_STAMP) $(BPF_SKELETONS)

CTL_SRC := $(sort $(wildcard ctl/*.c))
CTL_OBJ := $(patsubst %.c,$(BUILD)/obj/%.o,$(CTL_SRC))
$(BUILD)/weftctl: $(CTL_OBJ) $(BUILD)/lib/base.a
	$(CC) $(CFLAGS) -o $@ $^ $(LDLIBS)

-include $(ALL_OBJECTS:.o=.d) $(CTL_OBJ:.o=.d) $(BUILD)/obj/daemon/main.d

.PHONY: install
install: all ## Install into $(DESTDIR)$(PREFIX)
	install -D -m 0755 $(BUILD)/weftd $(DESTDIR)$(PREFIX)/sbin/weftd
	install -D -m 0755 $(BUILD)/weftctl $(DESTDIR)$(PREFIX)/bin/weftctl
	install -D -m 0644 README.md $(DESTDIR)$(PREFIX)/share/doc/weft/README.md
	install -m 0644 LICENSE LICENSE.GPL-2.0 $(DESTDIR)$(PREFIX)/share/doc/weft
	install -d $(DESTDIR)$(PREFIX)/share/doc/weft/docs
	install -m 0644 docs/*.md $(DESTDIR)$(PREFIX)/share/doc/weft/docs
