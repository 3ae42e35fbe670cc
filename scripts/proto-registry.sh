#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# proto-registry.sh DIR PROTO...: writes DIR/registry.pb-c.{c,h}, a table of all message descriptors, sorted by full name.
set -eu
dir=$1
shift

{
	echo '/* Made by scripts/proto-registry.sh. */'
	echo '#ifndef WEFT_PROTO_REGISTRY_H'
	echo '#define WEFT_PROTO_REGISTRY_H'
	echo '#include <stddef.h>'
	echo '#include <protobuf-c/protobuf-c.h>'
	echo 'extern const ProtobufCMessageDescriptor *const proto_messages[];'
	echo 'extern const size_t proto_message_count;'
	echo '#endif'
} > "$dir/registry.pb-c.h"

{
	echo '/* Made by scripts/proto-registry.sh. */'
	echo '#include "registry.pb-c.h"'
	for proto; do
		name=${proto#proto/}
		echo "#include \"${name%.proto}.pb-c.h\""
	done
	echo 'const ProtobufCMessageDescriptor *const proto_messages[] = {'
	# const ProtobufCMessageDescriptor SYMBOL = { MAGIC, "FULL NAME", ...
	for proto; do
		name=${proto#proto/}
		awk '/^const ProtobufCMessageDescriptor [a-z0-9_]+ =$/ { symbol = $3; magic = 0; next }
		     symbol && /PROTOBUF_C__MESSAGE_DESCRIPTOR_MAGIC/ { magic = 1; next }
		     symbol && magic { split($0, part, "\""); print part[2], symbol; symbol = "" }' "$dir/${name%.proto}.pb-c.c"
	done | LC_ALL=C sort | awk '{ print "\t&" $2 "," }'
	echo '};'
	echo 'const size_t proto_message_count = sizeof(proto_messages) / sizeof(proto_messages[0]);'
} > "$dir/registry.pb-c.c"
