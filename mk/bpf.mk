# BPF programs: bpf/*.bpf.c -> an object each -> build/gen/*.skel.h
BPF_SOURCES := $(sort $(wildcard bpf/*.bpf.c))
BPF_OBJECTS := $(patsubst bpf/%.bpf.c,$(BUILD)/bpf/%.bpf.o,$(BPF_SOURCES))
BPF_SKELETONS := $(patsubst bpf/%.bpf.c,$(BUILD)/gen/%.skel.h,$(BPF_SOURCES))
BPF_ARCH    := $(shell uname -m | sed -e s/x86_64/x86/ -e s/aarch64/arm64/)
BPF_SYSTEM_INCLUDE := -idirafter /usr/include/$(shell uname -m)-linux-gnu -idirafter /usr/include
BPF_CFLAGS  := -O2 -g -target bpf -mcpu=v3 -D__TARGET_ARCH_$(BPF_ARCH) -Wall -Wextra -Werror -Wno-unused-function \
               -Wno-unused-parameter -Wno-missing-declarations -Iinclude -Ibpf $(BPF_SYSTEM_INCLUDE) $(EXTRA_BPF_CFLAGS)

$(BUILD)/bpf/%.bpf.o: bpf/%.bpf.c
	@mkdir -p $(@D)
	$(CLANG) $(BPF_CFLAGS) -MMD -MP -c $< -o $@

$(BUILD)/bpf/%.linked.o: $(BUILD)/bpf/%.bpf.o
	$(BPFTOOL) gen object $@ $^

$(BUILD)/gen/%.skel.h: $(BUILD)/bpf/%.linked.o
	@mkdir -p $(@D)
	$(BPFTOOL) gen skeleton $< name $* > $@

-include $(BPF_OBJECTS:.o=.d)
