/* SPDX-License-Identifier: Apache-2.0 */
/* Memory that lives and dies together: a resource of the mesh and everything it points at.
 *
 * Allocations are zeroed and aligned for any type; there is no single free. arena_release() ends them all. */
#ifndef WEFT_BASE_ARENA_H
#define WEFT_BASE_ARENA_H

#include <stddef.h>
#include <stdint.h>

struct arena_block;

struct arena {
	struct arena_block *blocks;
	size_t size_bytes;   /* taken from the system so far */
};

#define ARENA_INIT { NULL, 0 }

void arena_release(struct arena *arena);

/* All return NULL when memory, or size_t, does not reach. Size 0 gives a valid pointer. */
void *arena_alloc(struct arena *arena, size_t size);
void *arena_array(struct arena *arena, size_t count, size_t size);
char *arena_text(struct arena *arena, const char *text);
void *arena_copy(struct arena *arena, const void *bytes, size_t size);
char *arena_printf(struct arena *arena, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

#define arena_new(arena, type)            ((type *)arena_alloc((arena), sizeof(type)))
#define arena_new_array(arena, type, n)   ((type *)arena_array((arena), (n), sizeof(type)))

#endif
