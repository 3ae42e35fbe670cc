/* SPDX-License-Identifier: Apache-2.0 */
/* Serialized messages from outside: checked as a whole before protobuf-c unpacks them. */
#ifndef WEFT_MESH_WIRE_H
#define WEFT_MESH_WIRE_H

#include <stddef.h>
#include <stdint.h>

#include <protobuf-c/protobuf-c.h>

#include "base/arena.h"

#define WIRE_DEPTH_LIMIT 100

/* Unpacks into `arena` (never free the message). Before that it refuses what protobuf-c lets pass: nesting past WIRE_DEPTH_LIMIT (it recurses
 * without a limit), texts with a zero byte (they would be cut short, and a match would widen) or that are not UTF-8, groups, fields cut
 * off. Returns 0; -EBADMSG with `problem` set to a constant text; -ENOMEM. */
int wire_unpack(const ProtobufCMessageDescriptor *descriptor, const void *bytes, size_t size, struct arena *arena,
		ProtobufCMessage **out, const char **problem);

#endif
