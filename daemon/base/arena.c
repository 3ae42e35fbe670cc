/* SPDX-License-Identifier: Apache-2.0 */
#include "base/arena.h"

#include <stdalign.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define BLOCK_BYTES ((size_t)4096)       /* at least */
#define BLOCK_BYTES_MAX ((size_t)65536)  /* of those for many pieces */

struct arena_block {
	struct arena_block *next;
	size_t used, size;
	alignas(max_align_t) unsigned char bytes[];
};

void arena_release(struct arena *arena)
{
	struct arena_block *block = arena->blocks;

	while (block) {
		struct arena_block *next = block->next;

		free(block);
		block = next;
	}
	*arena = (struct arena)ARENA_INIT;
}

static struct arena_block *block_add(struct arena *arena, size_t size, bool is_for_one)
{
	size_t total;
	struct arena_block *block;

	if (__builtin_add_overflow(size, sizeof(*block), &total) || total > PTRDIFF_MAX)
		return NULL;
	block = calloc(1, total);
	if (!block)
		return NULL;
	block->size = size;
	arena->size_bytes += total;

	/* A block made for one large piece is full at once: it must not hide the room of the one before it. */
	if (arena->blocks && is_for_one) {
		block->next = arena->blocks->next;
		arena->blocks->next = block;
	} else {
		block->next = arena->blocks;
		arena->blocks = block;
	}
	return block;
}

/* Grows with the arena: a quarter of what is there may be left over. */
static size_t block_bytes(const struct arena *arena)
{
	size_t quarter = arena->size_bytes / 4;

	return quarter < BLOCK_BYTES ? BLOCK_BYTES : quarter > BLOCK_BYTES_MAX ? BLOCK_BYTES_MAX : quarter;
}

void *arena_alloc(struct arena *arena, size_t size)
{
	struct arena_block *block = arena->blocks;
	size_t rounded;
	void *piece;

	if (__builtin_add_overflow(size, alignof(max_align_t) - 1, &rounded))
		return NULL;
	rounded &= ~(alignof(max_align_t) - 1);
	if (!block || block->size - block->used < rounded)
		block = rounded > block_bytes(arena) ? block_add(arena, rounded, true) : block_add(arena, block_bytes(arena), false);
	if (!block)
		return NULL;
	piece = block->bytes + block->used;
	block->used += rounded;
	return piece;
}

void *arena_array(struct arena *arena, size_t count, size_t size)
{
	size_t total;

	return __builtin_mul_overflow(count, size, &total) ? NULL : arena_alloc(arena, total);
}

void *arena_copy(struct arena *arena, const void *bytes, size_t size)
{
	void *copy = arena_alloc(arena, size);

	if (copy && size)
		memcpy(copy, bytes, size);
	return copy;
}

char *arena_text(struct arena *arena, const char *text)
{
	return arena_copy(arena, text, strlen(text) + 1);
}

char *arena_printf(struct arena *arena, const char *fmt, ...)
{
	va_list args;
	char *text;
	int n;

	va_start(args, fmt);
	n = vsnprintf(NULL, 0, fmt, args);
	va_end(args);
	if (n < 0)
		return NULL;
	text = arena_alloc(arena, (size_t)n + 1);
	if (!text)
		return NULL;
	va_start(args, fmt);
	vsnprintf(text, (size_t)n + 1, fmt, args);
	va_end(args);
	return text;
}
