# protobuf-c code from the trimmed .proto files: proto/a/b.proto -> build/gen/proto/a/b.pb-c.{c,h}, and registry.pb-c.c,
# which lists every message of them by full name: what a type URL may name.
PROTOS      := $(shell find proto -name '*.proto' 2>/dev/null | sort)
PROTO_C     := $(patsubst proto/%.proto,$(BUILD)/gen/proto/%.pb-c.c,$(PROTOS)) $(BUILD)/gen/proto/registry.pb-c.c
PROTO_H     := $(PROTO_C:.c=.h)
PROTO_STAMP := $(BUILD)/gen/proto/.stamp

$(PROTO_STAMP): $(PROTOS) scripts/proto-registry.sh mk/proto.mk
	@mkdir -p $(BUILD)/gen/proto
	$(PROTOC_C) -Iproto --c_out=$(BUILD)/gen/proto $(PROTOS)
	scripts/proto-registry.sh $(BUILD)/gen/proto $(PROTOS)
	@touch $@
$(PROTO_C) $(PROTO_H): $(PROTO_STAMP) ;
