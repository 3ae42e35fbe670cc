# protobuf-c code from the trimmed .proto files: proto/a/b.proto -> build/gen/proto/a/b.pb-c.{c,h}
PROTOS      := $(shell find proto -name '*.proto' 2>/dev/null | sort)
PROTO_C     := $(patsubst proto/%.proto,$(BUILD)/gen/proto/%.pb-c.c,$(PROTOS))
PROTO_H     := $(PROTO_C:.c=.h)
PROTO_STAMP := $(BUILD)/gen/proto/.stamp

$(PROTO_STAMP): $(PROTOS)
	@mkdir -p $(BUILD)/gen/proto
	$(PROTOC_C) -Iproto --c_out=$(BUILD)/gen/proto $(PROTOS)
	@touch $@
$(PROTO_C) $(PROTO_H): $(PROTO_STAMP) ;
