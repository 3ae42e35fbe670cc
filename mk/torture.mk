# The torture: a self-checking client and server (tests/torture). Its programs link nothing of weft: they are to judge it.
TORTURE_DIR    := tests/torture
TORTURE_COMMON := bytes io io_read io_write ledger message pads spec wire
TORTURE_CLIENT := $(TORTURE_COMMON) answer client connection judge request schedule stall
TORTURE_SERVER := $(TORTURE_COMMON) serve server
TORTURE_BIN    := $(BUILD)/torture/torture-client $(BUILD)/torture/torture-server

SEED ?= 1
TIME ?= 120
FAST_PATH ?= on
DISABLE ?=
THROUGH ?= weft
IPV6 ?=

$(BUILD)/torture/%.o: $(TORTURE_DIR)/%.c
	@mkdir -p $(@D)
	$(CC) -D_GNU_SOURCE -O2 -g -std=gnu11 -pthread $(WARNINGS) -MMD -MP -c $< -o $@
$(BUILD)/torture/torture-client: $(TORTURE_CLIENT:%=$(BUILD)/torture/%.o)
	$(CC) -pthread -o $@ $^
$(BUILD)/torture/torture-server: $(TORTURE_SERVER:%=$(BUILD)/torture/%.o)
	$(CC) -pthread -o $@ $^
-include $(patsubst %,$(BUILD)/torture/%.d,$(sort $(TORTURE_CLIENT) $(TORTURE_SERVER)))

# A blocking read may end with EAGAIN where connect() did not block (docs/limits.md): counted in the summary, and an error with FORGIVE_EAGAIN= (nothing).
FORGIVE_EAGAIN ?= yes

TEST_TORTURE_TIME ?= 120
TEST_TORTURE_IPV6_TIME ?= 15
# tests/e2e/stall_test.sh is the torture's.
e2e e2e-alone: $(TORTURE_BIN)

.PHONY: torture-test
torture-test: all $(TORTURE_BIN)
	BUILD=$(abspath $(BUILD)) $(TORTURE_DIR)/leaves_nothing_test.sh
	$(MAKE) --no-print-directory torture TIME=$(TEST_TORTURE_TIME)

.PHONY: torture-ipv6-test
torture-ipv6-test: all $(TORTURE_BIN)
	$(MAKE) --no-print-directory torture IPV6=yes TIME=$(TEST_TORTURE_IPV6_TIME)

.PHONY: torture
torture: all $(TORTURE_BIN) ## Check every byte under seeded random schedules (root; SEED=n TIME=s IPV6=yes FAST_PATH=auto|on|remote|off DISABLE=features)
	BUILD=$(abspath $(BUILD)) $(TORTURE_DIR)/torture.sh --through $(THROUGH) $(if $(IPV6),--ipv6) --fast-path $(FAST_PATH) $(if $(DISABLE),--disable $(DISABLE)) --seed $(SEED) --time $(TIME) $(if $(FORGIVE_EAGAIN),--forgive-eagain) $(if $(TORTURE_ARGS),-- $(TORTURE_ARGS))

# Each fallback for a minute, one after the other: of every feature that weftd knows, whatever this kernel has.
.PHONY: torture-fallbacks
torture-fallbacks: TIME = 60
torture-fallbacks: FAST_PATH = auto
torture-fallbacks: all $(TORTURE_BIN) ## The torture without each feature that --disable takes, TIME seconds each (root; SEED=n)
	@features=$$($(BUILD)/weftd --config none --disable none 2>&1 | sed -n 's/.*these are: //p' | tr -d , || true); \
	test -n "$$features" || { echo "weftd names no features" >&2; exit 1; }; failed=; \
	for feature in $$features; do \
		echo "--- without $$feature"; \
		$(MAKE) --no-print-directory torture DISABLE=$$feature FAST_PATH=$(FAST_PATH) TIME=$(TIME) || failed="$$failed $$feature"; \
	done; \
	echo "torture-fallbacks: $$(echo $$features | wc -w) features, $(TIME) s without each$${failed:+; it failed without$$failed}"; test -z "$$failed"

# What the torture allows must be what plain TCP and a known-good proxy do. HAProxy 2.6 loses bytes behind a 1xx now and then, and resets
# a connection that ends with pipelined requests unread, which destroys the answer before: these classes are left out for it.
.PHONY: torture-self torture-liar
torture-liar: $(TORTURE_BIN)
	BUILD=$(abspath $(BUILD)) $(TORTURE_DIR)/self_test.sh

torture-self: torture-liar ## Test the torture itself: against a lying relay, over plain TCP, through HAProxy (root)
	BUILD=$(abspath $(BUILD)) $(TORTURE_DIR)/torture.sh --through direct --seed $(SEED) --time $(TIME)
	BUILD=$(abspath $(BUILD)) $(TORTURE_DIR)/torture.sh --through haproxy --seed $(SEED) --time $(TIME) -- --no interim,expect,endinside

# tests/e2e/stall_test.sh is this with streams alone. What carries messages here warms connections, whose servers then hold more for the streams.
# Everything that happens to a node in months, at once: worker kills, replacements, changes of routes, endpoints and pods; TIME in minutes.
.PHONY: soak
soak: TIME = 10
soak: all next $(TORTURE_BIN) ## Torture while workers are killed, weftds replaced and configurations changed; nothing may leak (root; TIME=minutes)
	BUILD=$(abspath $(BUILD)) $(TORTURE_DIR)/torture.sh --fast-path $(FAST_PATH) --seed $(SEED) --time $$(($(TIME) * 60)) --kill-worker 7 --replace 11 --churn 3 --leaks $(if $(FORGIVE_EAGAIN),--forgive-eagain) $(if $(TORTURE_ARGS),-- $(TORTURE_ARGS))

.PHONY: stall
stall: all $(TORTURE_BIN) ## Measure what stalled readers pin against plain TCP, and whether others are slowed (root)
	BUILD=$(abspath $(BUILD)) $(TORTURE_DIR)/torture.sh --fast-path on --stall 2 -- --connections 50
