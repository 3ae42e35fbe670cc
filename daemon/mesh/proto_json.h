/* SPDX-License-Identifier: Apache-2.0 */
/* A message as JSON, as protobuf's own mapping has it with the names of the .proto file: what Envoy's /config_dump prints. */
#ifndef WEFT_MESH_PROTO_JSON_H
#define WEFT_MESH_PROTO_JSON_H

#include <jansson.h>
#include <protobuf-c/protobuf-c.h>

#include "base/arena.h"

/* NULL without memory. An Any of a type that is known is spelled out ("@type" first); of another, its bytes stand under "value", in base64. Fields that
 * are not known are left out. `scratch` holds what is unpacked on the way. */
json_t *proto_json(const ProtobufCMessage *message, struct arena *scratch);

/* The Any of this type and these bytes. */
json_t *proto_json_any(const char *type_url, const void *bytes, size_t size, struct arena *scratch);

#endif
