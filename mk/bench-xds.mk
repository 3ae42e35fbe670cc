# What pushes of istiod cost, from bytes to what serves: build/bench-xds.json, rows like those of build/bench-publish.json.
BENCH_XDS      := $(BUILD)/bench/xds/xds
BENCH_XDS_LIBS := $(patsubst %,$(BUILD)/lib/%.a,datapath compile dns xds mesh kube regex base proto)

$(BENCH_XDS): bench/xds/xds.c bench/report.h $(BENCH_XDS_LIBS)
	@mkdir -p $(@D)
	$(CC) $(CPPFLAGS) -I. -I$(BUILD)/gen/proto $(CFLAGS) -o $@ $< -Wl,--start-group $(BENCH_XDS_LIBS) -Wl,--end-group $(LDLIBS)

# Beside it, whole processes: weftd and, where one is installed, Envoy, fed by gRPC's own server; and weftd under load, with pushes without end and without istiod.
.PHONY: bench-xds
bench-xds: $(BENCH_XDS) $(BUILD)/xds-venv/.stamp all ## Measure what pushes of istiod cost, beside Envoy, and what an outage costs (root; QUICK=1: a minute)
	$(BENCH_XDS) $(BUILD)/bench-xds.json $(if $(QUICK),7,51)
	$(BUILD)/xds-venv/bin/python -B bench/xds/live.py --build $(BUILD) $(if $(QUICK),--quick)
