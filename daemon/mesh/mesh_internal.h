/* SPDX-License-Identifier: Apache-2.0 */
/* What the files of this folder know of a mesh beyond mesh.h. */
#ifndef WEFT_MESH_MESH_INTERNAL_H
#define WEFT_MESH_MESH_INTERNAL_H

#include "mesh/build.h"
#include "mesh/mesh.h"

/* mesh_add_resource(), of a resource with a place. */
int mesh_add(struct mesh *mesh, const char *type_url, const void *bytes, size_t size, const struct mesh_source *source,
	     struct mesh_report *report);

/* Of a mesh that was loaded as a whole: resources that name unknown clusters, although validate_clusters is true, are refused. */
int mesh_refuse_unknown_clusters(struct mesh *mesh, struct mesh_report *report);

/* Takes the resource out, and keeps why. */
int mesh_refuse(struct mesh *mesh, const struct mesh_resource *resource, const char *path, const char *text);

/* The list a loader fills. */
struct pods *mesh_pods(struct mesh *mesh);

#endif
