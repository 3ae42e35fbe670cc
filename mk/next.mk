# Further builds for tests of crashes and replacement. `next` is another version, which can be stopped at every step (daemon/base/step.h); `other` is that,
# and has another layout between daemon and programs. Only the stages that know of versions, steps and layouts are compiled anew.
NEXT        := $(BUILD)/next
OTHER       := $(BUILD)/other
NEXT_STAGES := base keeper datapath worker
NEXT_OTHERS := $(patsubst %,$(BUILD)/lib/%.a,$(filter-out $(NEXT_STAGES),$(STAGES)) proto)
libs_of      = $(patsubst %,$(1)/lib/%.a,$(NEXT_STAGES))
make_in      = $(MAKE) --no-print-directory -s BUILD=$(1) EXTRA_CPPFLAGS=-DWEFT_STEPS $(call libs_of,$(1)) $(1)/obj/daemon/main.o $(1)/weftctl

.PHONY: next next-objects other-objects
next: $(NEXT)/weftd $(OTHER)/weftd

next-objects:
	@+$(call make_in,$(NEXT)) VERSION=$(VERSION)+next
other-objects:
	@+$(call make_in,$(OTHER)) VERSION=$(VERSION)+other LAYOUT_SALT=other

$(NEXT)/weftd: next-objects $(NEXT_OTHERS)
$(OTHER)/weftd: other-objects $(NEXT_OTHERS)
$(NEXT)/weftd $(OTHER)/weftd:
	$(CC) $(CFLAGS) -o $@ $(@D)/obj/daemon/main.o -Wl,--start-group $(call libs_of,$(@D)) $(NEXT_OTHERS) -Wl,--end-group $(LDLIBS)
