# What a large mesh costs to compile and to publish: build/bench-publish.json, rows like those of build/bench-engine.json.
BENCH_PUBLISH      := $(BUILD)/bench/publish/publish
BENCH_PUBLISH_LIBS := $(patsubst %,$(BUILD)/lib/%.a,datapath compile dns mesh kube regex base proto)

$(BENCH_PUBLISH): bench/publish/publish.c bench/report.h $(BENCH_PUBLISH_LIBS)
	@mkdir -p $(@D)
	$(CC) $(CPPFLAGS) -I. -I$(BUILD)/gen/proto $(CFLAGS) -o $@ $< -Wl,--start-group $(BENCH_PUBLISH_LIBS) -Wl,--end-group $(LDLIBS)

.PHONY: bench-publish
bench-publish: $(BENCH_PUBLISH) ## Measure compiling and publishing a large mesh, and its changes (root; QUICK=1: some seconds)
	$(BENCH_PUBLISH) $(BUILD)/bench-publish.json $(if $(QUICK),11,51)
