# What pushes of istiod cost, from bytes to what serves: build/bench-xds.json, rows like those of build/bench-publish.json.
BENCH_XDS      := $(BUILD)/bench/xds/xds
BENCH_XDS_LIBS := $(patsubst %,$(BUILD)/lib/%.a,datapath compile dns xds mesh kube regex base proto)

$(BENCH_XDS): bench/xds/xds.c bench/report.h $(BENCH_XDS_LIBS)
	@mkdir -p $(@D)
	$(CC) $(CPPFLAGS) -I. -I$(BUILD)/gen/proto $(CFLAGS) -o $@ $< -Wl,--start-group $(BENCH_XDS_LIBS) -Wl,--end-group $(LDLIBS)

.PHONY: bench-xds
bench-xds: $(BENCH_XDS) ## Measure what pushes of istiod cost, bytes to live, and what scopes hold (root; QUICK=1: some seconds)
	$(BENCH_XDS) $(BUILD)/bench-xds.json $(if $(QUICK),11,51)
