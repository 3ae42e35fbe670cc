# The tests that touch the kernel, in Debian's kernels under qemu: needs `scripts/deps.sh kernels`. No part of `make test`: emulated, it takes
# almost as long as all the rest together.
KERNELS ?= 6.1 6.12

KERNELS_NEED := $(DATAPATH_TESTS) $(ENGINE_TESTS) $(ENGINE_BPF) $(BUILD)/tests/order_test $(FOUND_TESTS) \
		$(BUILD)/torture/torture-client $(BUILD)/torture/torture-server

.PHONY: test-kernels
test-kernels: all $(KERNELS_NEED) ## Test in Debian's 6.1 and 6.12 under qemu (root; KERNELS=6.1 PARTS="order torture": only those)
	BUILD=$(abspath $(BUILD)) PARTS="$(PARTS)" tests/kernels/run.sh $(KERNELS)
