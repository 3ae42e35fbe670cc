# The engine beyond its unit tests: in the running kernel (root), and under libFuzzer.
ENGINE_BPF := $(BUILD)/tests/bpf/engine.bpf.o

$(ENGINE_BPF): tests/bpf/engine.bpf.c
	@mkdir -p $(@D)
	$(CLANG) $(BPF_CFLAGS) -Itests/bpf -MMD -MP -c $< -o $@

ENGINE_TESTS := $(patsubst tests/bpf/%.c,$(BUILD)/tests/bpf/%,$(sort $(wildcard tests/bpf/*_test.c)))

$(BUILD)/tests/bpf/%_test: tests/bpf/%_test.c
	@mkdir -p $(@D)
	$(CC) $(CPPFLAGS) -Itests/unit -Itests/bpf $(CFLAGS) -MMD -MP -o $@ $< -lbpf -lcmocka

# Regular expressions are made by the daemon's compiler.
ENGINE_REGEX_LIBS := $(patsubst %,$(BUILD)/lib/%.a,compile dns mesh kube regex base proto)

$(BUILD)/tests/bpf/regex_test: tests/bpf/regex_test.c $(ENGINE_REGEX_LIBS)
	@mkdir -p $(@D)
	$(CC) $(CPPFLAGS) -Itests/unit -Itests/bpf $(CFLAGS) -MMD -MP -o $@ $< -Wl,--start-group $(ENGINE_REGEX_LIBS) -Wl,--end-group $(LDLIBS) -lcmocka

-include $(ENGINE_BPF:.o=.d) $(ENGINE_TESTS:=.d)

.PHONY: bpf-test
bpf-test: $(ENGINE_TESTS) $(ENGINE_BPF) $(BUILD)/tests/datapath/budget_test ## Run the engine inside the kernel against the engine outside, load all programs (root)
	@failed=0; for t in $(ENGINE_TESTS) $(BUILD)/tests/datapath/budget_test; do timeout 300 $$t $(ENGINE_BPF) || failed=1; done; exit $$failed

.PHONY: bpf-test-kernel
bpf-test-kernel: $(ENGINE_TESTS) $(ENGINE_BPF) ## The same in another kernel: KERNEL=/boot/vmlinuz-...
	timeout 420 tests/kernels/boot.sh "$(KERNEL)" 400 "( failed=0; for t in $(ENGINE_TESTS); do \$$t $(ENGINE_BPF) || failed=1; done; exit \$$failed )" $^

FUZZERS   := http1 router compile regex frame xds yaml
FUZZ_TIME ?= $(or $(TIME),30)
FUZZ_BIN  := $(FUZZERS:%=$(BUILD)/tests/fuzz/%_fuzz)

$(BUILD)/tests/fuzz/%_fuzz: tests/fuzz/%_fuzz.c
	@mkdir -p $(@D)
	$(CLANG) $(CPPFLAGS) -Itests/unit -std=gnu11 -g -O1 -Wall -Wextra -Werror -Wno-unused-parameter -Wno-unused-function \
		-fsanitize=fuzzer,address,undefined -fno-sanitize-recover=undefined -MMD -MP -o $@ $<

# What it is about is compiled for libFuzzer, what that stands on is taken as it is.
FUZZ_REGEX_SRC := $(wildcard daemon/regex/*.c) daemon/compile/regexes.c daemon/compile/builder.c

$(BUILD)/tests/fuzz/regex_fuzz: tests/fuzz/regex_fuzz.c $(FUZZ_REGEX_SRC) $(wildcard daemon/regex/*.h include/weft/*.h) $(ENGINE_REGEX_LIBS)
	@mkdir -p $(@D)
	$(CLANG) $(CPPFLAGS) -I$(BUILD)/gen/proto -std=gnu11 -fno-strict-aliasing -g -O1 -Wall -Wextra -Werror -Wno-unused-parameter -Wno-unused-function \
		-fsanitize=fuzzer,address,undefined -fno-sanitize-recover=undefined -o $@ $< $(FUZZ_REGEX_SRC) \
		-Wl,--start-group $(ENGINE_REGEX_LIBS) -Wl,--end-group $(LDLIBS)

FUZZ_FRAME_SRC := daemon/xds/frame.c daemon/xds/grpc.c daemon/base/strbuf.c daemon/base/assert.c

$(BUILD)/tests/fuzz/frame_fuzz: tests/fuzz/frame_fuzz.c $(FUZZ_FRAME_SRC) daemon/xds/frame.h daemon/xds/grpc.h $(BUILD)/lib/base.a
	@mkdir -p $(@D)
	$(CLANG) $(CPPFLAGS) -std=gnu11 -fno-strict-aliasing -g -O1 -Wall -Wextra -Werror -Wno-unused-parameter -Wno-unused-function \
		-fsanitize=fuzzer,address,undefined -fno-sanitize-recover=undefined -o $@ $< $(FUZZ_FRAME_SRC) $(BUILD)/lib/base.a

FUZZ_XDS_SRC  := $(wildcard daemon/xds/response.c daemon/xds/store.c daemon/xds/scope.c daemon/xds/settle.c daemon/xds/demand.c daemon/xds/names.c \
	daemon/xds/request.c daemon/xds/describe.c daemon/mesh/*.c)
FUZZ_XDS_LIBS := $(patsubst %,$(BUILD)/lib/%.a,compile dns xds mesh kube regex base proto)

$(BUILD)/tests/fuzz/xds_fuzz: tests/fuzz/xds_fuzz.c tests/fuzz/xds_corpus.py $(FUZZ_XDS_SRC) $(wildcard daemon/xds/*.h daemon/mesh/*.h) $(FUZZ_XDS_LIBS)
	@mkdir -p $(@D)
	$(CLANG) $(CPPFLAGS) -I$(BUILD)/gen/proto -std=gnu11 -fno-strict-aliasing -g -O1 -Wall -Wextra -Werror -Wno-unused-parameter -Wno-unused-function \
		-fsanitize=fuzzer,address,undefined -fno-sanitize-recover=undefined -o $@ $< $(FUZZ_XDS_SRC) \
		-Wl,--start-group $(FUZZ_XDS_LIBS) -Wl,--end-group $(LDLIBS)
	python3 -B tests/fuzz/xds_corpus.py tests/data/recordings $@.corpus

FUZZ_COMPILE_SRC  := $(wildcard daemon/compile/*.c daemon/mesh/*.c)
FUZZ_COMPILE_LIBS := $(patsubst %,$(BUILD)/lib/%.a,dns kube regex base proto)

$(BUILD)/tests/fuzz/compile_fuzz: tests/fuzz/compile_fuzz.c tests/fuzz/compile_corpus.py $(FUZZ_COMPILE_SRC) $(wildcard daemon/compile/*.h daemon/mesh/*.h include/weft/*.h) $(FUZZ_COMPILE_LIBS)
	@mkdir -p $(@D)
	$(CLANG) $(CPPFLAGS) -I$(BUILD)/gen/proto -std=gnu11 -fno-strict-aliasing -g -O1 -Wall -Wextra -Werror -Wno-unused-parameter -Wno-unused-function -Wno-missing-field-initializers \
		-fsanitize=fuzzer,address,undefined -fno-sanitize-recover=undefined -o $@ $< $(FUZZ_COMPILE_SRC) \
		-Wl,--start-group $(FUZZ_COMPILE_LIBS) -Wl,--end-group $(LDLIBS)
	python3 -B tests/fuzz/compile_corpus.py tests/conformance/vectors $@.corpus

FUZZ_YAML_SRC  := $(wildcard daemon/mesh/*.c)
FUZZ_YAML_LIBS := $(patsubst %,$(BUILD)/lib/%.a,kube regex base proto)

$(BUILD)/tests/fuzz/yaml_fuzz: tests/fuzz/yaml_fuzz.c $(FUZZ_YAML_SRC) $(wildcard daemon/mesh/*.h tests/golden/*/in.yaml) $(FUZZ_YAML_LIBS)
	@mkdir -p $(@D) $@.corpus
	$(CLANG) $(CPPFLAGS) -I$(BUILD)/gen/proto -std=gnu11 -fno-strict-aliasing -g -O1 -Wall -Wextra -Werror -Wno-unused-parameter -Wno-unused-function \
		-fsanitize=fuzzer,address,undefined -fno-sanitize-recover=undefined -o $@ $< $(FUZZ_YAML_SRC) \
		-Wl,--start-group $(FUZZ_YAML_LIBS) -Wl,--end-group $(LDLIBS)
	for f in tests/golden/*/in.yaml; do cp $$f $@.corpus/$$(basename $$(dirname $$f)).yaml; done

-include $(FUZZ_BIN:=.d)

.PHONY: fuzz
fuzz: $(FUZZ_BIN) fuzz-corpora ## Fuzz the parser, the router, the compiler, expressions, what istiod sends and files (TIME=60: seconds each)
	@status=0; for f in $(FUZZ_BIN); do \
		echo "== $$f"; \
		case $$f in *xds_fuzz|*compile_fuzz|*yaml_fuzz) len=65536;; *) len=4096;; esac; \
		$$f -max_total_time=$(FUZZ_TIME) -max_len=$$len -print_final_stats=0 -artifact_prefix=$$f- $$f.corpus >$$f.log 2>&1 || status=1; \
		if [ $$status = 0 ]; then tail -n 3 $$f.log; else tail -n 40 $$f.log; exit 1; fi; \
	done

# What a recorded mesh and its requests give as first inputs; those that fuzzing found stay beside them.
.PHONY: fuzz-corpora
fuzz-corpora:
	@mkdir -p $(FUZZ_BIN:=.corpus)
	python3 -B tests/fuzz/http1_corpus.py tests/conformance/vectors $(BUILD)/tests/fuzz/http1_fuzz.corpus

# Beside the corpora a fixed number of inputs from a fixed seed, so that it ends the same way each time.
FUZZ_SEEDS_BIN := $(BUILD)/tests/fuzz/http1_fuzz $(BUILD)/tests/fuzz/router_fuzz

.PHONY: fuzz-seeds
fuzz-seeds: $(FUZZ_SEEDS_BIN) fuzz-corpora
	@for f in $(FUZZ_SEEDS_BIN); do \
		echo "== $$f"; rm -rf $$f.seeds; mkdir -p $$f.seeds; \
		timeout 120 $$f -seed=1 -runs=50000 -max_len=4096 -print_final_stats=0 -artifact_prefix=$$f- $$f.seeds $$f.corpus >$$f.log 2>&1 || { tail -n 30 $$f.log; exit 1; }; \
		tail -n 1 $$f.log; \
	done
