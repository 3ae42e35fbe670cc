# What the kernel's redirection costs by itself, for the bench to measure beside weft: sockets that are paired by programs that do nothing else.
BENCH_BARE     := $(BUILD)/bench/bare/bare
BENCH_BARE_BPF := $(BUILD)/bench/bare/bare.bpf.o

$(BENCH_BARE_BPF): bench/bare/bare.bpf.c
	@mkdir -p $(@D)
	$(CLANG) $(BPF_CFLAGS) -MMD -MP -c $< -o $@
$(BENCH_BARE): bench/bare/bare.c
	@mkdir -p $(@D)
	$(CC) $(CPPFLAGS) $(CFLAGS) -o $@ $< $(LDLIBS)
-include $(BENCH_BARE_BPF:.o=.d)

bench: $(BENCH_BARE) $(BENCH_BARE_BPF)
