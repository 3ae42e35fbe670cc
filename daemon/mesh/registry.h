/* SPDX-License-Identifier: Apache-2.0 */
/* Message types by full name, from the compiled descriptors of proto/. */
#ifndef WEFT_MESH_REGISTRY_H
#define WEFT_MESH_REGISTRY_H

#include <protobuf-c/protobuf-c.h>

/* "envoy.config.route.v3.Route"; NULL when weft has no such type. */
const ProtobufCMessageDescriptor *registry_find(const char *full_name);

/* "type.googleapis.com/envoy.config.route.v3.Route": what follows the last slash counts. */
const ProtobufCMessageDescriptor *registry_find_url(const char *type_url);

/* The full name in a type URL. */
const char *type_url_name(const char *type_url);

#endif
