# Recorded answers of a real API server (tests/data/kubeapi) through the client; pods found in trees of real cgroups.
KUBE_RECORDINGS := $(BUILD)/tests/kube/recordings
KUBE_PLACE      := $(BUILD)/tests/kube/place_test
KUBE_LIBS       := $(patsubst %,$(BUILD)/lib/%.asan.a,kube keeper regex base proto)
RECORDINGS      ?= tests/data/kubeapi

$(KUBE_RECORDINGS) $(KUBE_PLACE): $(BUILD)/tests/kube/%: tests/kube/%.c $(KUBE_LIBS)
	@mkdir -p $(@D)
	$(CC) $(CPPFLAGS) -I$(BUILD)/gen/proto $(CFLAGS) $(SANITIZE) -MMD -MP -o $@ $< -Wl,--start-group $(filter %.a,$^) -Wl,--end-group $(LDLIBS) -lcmocka
-include $(KUBE_RECORDINGS).d $(KUBE_PLACE).d

.PHONY: test-kube
test-kube: $(KUBE_RECORDINGS) $(KUBE_PLACE) ## Replay recordings of a Kubernetes API server (RECORDINGS=dir of NAME.resp and NAME.expect), find pods in cgroups (root)
	timeout 120 $(KUBE_RECORDINGS) $(RECORDINGS)
	timeout 60 $(KUBE_PLACE)
