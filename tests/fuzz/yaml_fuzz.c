/* SPDX-License-Identifier: Apache-2.0 */
/* The configuration reader on hostile input: a text as a file, or (first byte below 4) serialized bytes as a resource of that kind. It must
 * not crash, leak or take more than its limits; what it says of the input does not matter here. It begins with the golden tests' configurations. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "mesh/mesh.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct mesh_report report = MESH_REPORT_INIT;
	struct mesh *mesh = NULL;

	if (size && data[0] < MESH_KINDS) {
		if (mesh_new(&mesh))
			return 0;
		mesh_add_resource(mesh, mesh_kind_type_url(data[0]), data + 1, size - 1, &report);
		mesh_check_references(mesh, &report);
	} else {
		mesh_load_text("fuzz", (const char *)data, size, &mesh, &report);
	}
	mesh_free(&mesh);
	mesh_report_release(&report);
	return 0;
}
