# Recorded answers of a real API server (tests/data/kubeapi), through the client.
KUBE_RECORDINGS := $(BUILD)/tests/kube/recordings
RECORDINGS      ?= tests/data/kubeapi

$(KUBE_RECORDINGS): tests/kube/recordings.c $(patsubst %,$(BUILD)/lib/%.asan.a,kube keeper regex base proto)
	@mkdir -p $(@D)
	$(CC) $(CPPFLAGS) -I$(BUILD)/gen/proto $(CFLAGS) $(SANITIZE) -MMD -MP -o $@ $< -Wl,--start-group $(filter %.a,$^) -Wl,--end-group $(LDLIBS)
-include $(KUBE_RECORDINGS).d

.PHONY: test-kube
test-kube: $(KUBE_RECORDINGS) ## Replay recordings of a Kubernetes API server (RECORDINGS=dir of NAME.resp and NAME.expect)
	timeout 120 $(KUBE_RECORDINGS) $(RECORDINGS)
