/* SPDX-License-Identifier: Apache-2.0 */
/* Values of messages in a few words, for reasons that name a field: `{presented: true}`. */
#ifndef WEFT_MESH_PROTO_SHOW_H
#define WEFT_MESH_PROTO_SHOW_H

#include <protobuf-c/protobuf-c.h>

#include "base/strbuf.h"

/* Appends what the field holds, as YAML would have it in one line; what is longer than some eighty characters ends in `...`. Memory that runs
 * out sticks in the buffer. */
void proto_show_field(const ProtobufCMessage *message, const ProtobufCFieldDescriptor *field, struct strbuf *out);

#endif
