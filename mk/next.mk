# Further builds for tests of crashes and replacement. `next` is another version, which can be stopped at every step (daemon/base/step.h).
# Only the stages that know of versions and steps are compiled anew.
NEXT         := $(BUILD)/next
NEXT_STAGES  := base keeper datapath worker
NEXT_LIBS    := $(patsubst %,$(NEXT)/lib/%.a,$(NEXT_STAGES))
NEXT_OTHERS  := $(patsubst %,$(BUILD)/lib/%.a,$(filter-out $(NEXT_STAGES),$(STAGES)) proto)
NEXT_VERSION := $(VERSION)+next

.PHONY: next next-objects
next: $(NEXT)/weftd

next-objects:
	@$(MAKE) --no-print-directory -s BUILD=$(NEXT) VERSION=$(NEXT_VERSION) EXTRA_CPPFLAGS=-DWEFT_STEPS $(NEXT_LIBS) $(NEXT)/obj/daemon/main.o $(NEXT)/weftctl

$(NEXT)/weftd: next-objects $(NEXT_OTHERS)
	$(CC) $(CFLAGS) -o $@ $(NEXT)/obj/daemon/main.o -Wl,--start-group $(NEXT_LIBS) $(NEXT_OTHERS) -Wl,--end-group $(LDLIBS)
