# The engine's own cost in this kernel, over images of the compiler, and beside it what a route costs Envoy where one is installed: build/bench-engine.json.
BENCH_ENGINE      := $(BUILD)/bench/engine/bench
BENCH_ENGINE_BPF  := $(BUILD)/bench/engine/bench.bpf.o
BENCH_ENGINE_LIBS := $(patsubst %,$(BUILD)/lib/%.a,compile dns mesh regex kube base proto)

$(BENCH_ENGINE_BPF): bench/engine/bench.bpf.c
	@mkdir -p $(@D)
	$(CLANG) $(BPF_CFLAGS) -Ibench/engine -MMD -MP -c $< -o $@
$(BENCH_ENGINE): bench/engine/bench.c bench/engine/cases.c bench/engine/cases.h bench/engine/bench_io.h $(BENCH_ENGINE_LIBS)
	@mkdir -p $(@D)
	$(CC) $(CPPFLAGS) -Ibench/engine $(CFLAGS) -o $@ $(filter %.c,$^) -Wl,--start-group $(BENCH_ENGINE_LIBS) -Wl,--end-group $(LDLIBS)
-include $(BENCH_ENGINE_BPF:.o=.d)

.PHONY: bench-engine
bench-engine: $(BENCH_ENGINE) $(BENCH_ENGINE_BPF) ## Measure parser, router and balancer in this kernel (root; QUICK=1: some seconds)
	@status=0; $(BENCH_ENGINE) $(BENCH_ENGINE_BPF) $(BUILD)/bench-engine.json $(if $(QUICK),300,1500) || status=$$?; \
	python3 -B bench/engine/envoy.py --build $(BUILD) --json $(BUILD)/bench-engine.json --rounds $(if $(QUICK),20,100) || status=1; exit $$status
