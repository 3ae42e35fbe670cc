# Streams and certificates against servers that are not ours: gRPC's own for Python, one that breaks every rule, a real Envoy as gRPC-Web gateway.
XDS_TALK := $(BUILD)/tests/xds/talk
XDS_VENV := $(BUILD)/xds-venv

$(XDS_TALK): tests/xds/talk.c $(patsubst %,$(BUILD)/lib/%.asan.a,$(call stage_and_before,xds) proto)
	@mkdir -p $(@D)
	$(CC) $(CPPFLAGS) $(CFLAGS) $(SANITIZE) -o $@ $< -Wl,--start-group $(filter %.a,$^) -Wl,--end-group $(LDLIBS)

$(XDS_VENV)/.stamp: tests/xds/requirements.txt scripts/venv.sh
	scripts/venv.sh $(XDS_VENV) $<
	@touch $@

.PHONY: xds-test
xds-test: $(XDS_TALK) $(XDS_VENV)/.stamp ## Streams from istiod against real and broken servers, gRPC-Web through Envoy, TLS
	timeout 300 $(XDS_VENV)/bin/python tests/xds/xds_test.py --build $(BUILD)

# tests/e2e/istiod_test.sh has a stand-in for istiod.
e2e e2e-together: $(XDS_VENV)/.stamp

.PHONY: xds-protos
xds-protos: $(XDS_VENV)/.stamp ## Compare our .proto files with Envoy's, docs/xds.md with what istiod sends and is told
	timeout 120 $(XDS_VENV)/bin/python -B tests/xds/protos_test.py
