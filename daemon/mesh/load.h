/* SPDX-License-Identifier: Apache-2.0 */
/* What the loaders of files share. */
#ifndef WEFT_MESH_LOAD_H
#define WEFT_MESH_LOAD_H

#include <protobuf-c/protobuf-c.h>

#include "base/arena.h"
#include "mesh/mesh.h"

struct yaml_node;

struct loader {
	const char *file;
	const struct yaml_node *root;
	struct arena arena;            /* of the tree and the messages */
	struct mesh *mesh;
	struct mesh_report *report;
	size_t error_count;            /* errors that make the file as a whole unusable */
};

/* The resource that stands at `path`. A refused one is no failure: the report and the mesh know. */
int load_add(struct loader *l, const char *path, const char *type_url, const void *bytes, size_t size);

/* load_dump.c: `message` is a ConfigDump. */
int load_dump(struct loader *l, const ProtobufCMessage *message);

#endif
