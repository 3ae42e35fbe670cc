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
test-kube: all $(KUBE_RECORDINGS) $(KUBE_PLACE) ## Replay recordings of a Kubernetes API server (RECORDINGS=dir of NAME.resp and NAME.expect), find pods in cgroups (root)
	timeout 120 $(KUBE_RECORDINGS) $(RECORDINGS)
	timeout 60 $(KUBE_PLACE)
	timeout 240 python3 -B tests/kube/cluster_test.py --build $(BUILD)

# The same with a real API server (tests/kube/server), where there is Go: its modules come from GOPROXY, and the first build takes minutes.
GO          ?= go
KUBE_SERVER := $(BUILD)/tests/kube/server
KUBE_VERSION = $(shell sed -n 's/^\tk8s.io\/apiserver v0\.//p' tests/kube/server/go.mod)

$(KUBE_SERVER): $(wildcard tests/kube/server/*.go) tests/kube/server/go.mod tests/kube/server/go.sum
	@mkdir -p $(@D)
	cd tests/kube/server && $(GO) build -buildvcs=false -ldflags "-s -w -X k8s.io/component-base/version.gitVersion=v1.$(KUBE_VERSION)" -o $(abspath $@) .

.PHONY: test-kube-server
test-kube-server: all next $(KUBE_SERVER) $(BUILD)/xds-venv/.stamp ## What weftd has of pods, against a real API server with all that one does (root; needs Go; GO=go)
	timeout 400 python3 -B tests/kube/cluster_test.py --build $(BUILD) --server $(KUBE_SERVER) --pods 300 --hang 35 --server-option=--goaway-chance=0.02
	timeout 300 python3 -B tests/kube/cluster_test.py --build $(BUILD) --server $(KUBE_SERVER) --server-option=--disable-http2
	BUILD=$(abspath $(BUILD)) KUBE_SERVER=$(abspath $(KUBE_SERVER)) tests/e2e/run.sh kubernetes rolling_update
