/* SPDX-License-Identifier: Apache-2.0 */
/* The arena that an image grows in. Objects are 8-byte aligned and never cross a page; every page ends in WEFT_PAGE_SLACK bytes without
 * objects. Tables (hash slots, directories) are the exception: they may span pages and are read entry by entry.
 *
 * Memory is reserved for the largest image at once and never moves, so pointers into it hold while it grows. Errors stick: a
 * reference of 0 means that it failed, and builder_finish() says why. */
#ifndef WEFT_COMPILE_BUILDER_H
#define WEFT_COMPILE_BUILDER_H

#include <stddef.h>
#include <stdint.h>

#include "compile/compile.h"

#define BUILDER_OBJECT_MAX (WEFT_PAGE_SIZE - WEFT_PAGE_SLACK)

struct builder_shared {
	uint64_t hash;
	weft_ref ref;
	uint32_t size;
};

struct builder {
	uint8_t *base;
	uint32_t used;          /* where the next object may begin */
	uint32_t page_limit;
	int status;             /* 0 or the first error */
	struct builder_shared *shared; /* open addressing; mask + 1 entries */
	uint32_t shared_count, shared_mask;
};

/* Begins with the header. `page_limit` 0: WEFT_IMAGE_PAGES_MAX. 0 or -ENOMEM; always to be released. */
int builder_init(struct builder *builder, enum weft_image_kind kind, uint32_t page_limit);
void builder_release(struct builder *builder);

static inline int builder_status(const struct builder *builder)
{
	return builder->status;
}

/* Zeroed. 0 when it failed: -E2BIG past the page limit, -EMSGSIZE for an object that no page holds. */
weft_ref builder_alloc(struct builder *builder, size_t size);

/* The same at a multiple of `step`, a power of two, no later in its page than `last`. */
weft_ref builder_alloc_early(struct builder *builder, size_t size, uint32_t step, uint32_t last);

/* `count` entries of 8 bytes or less each (a power of two) that may span pages. */
weft_ref builder_table(struct builder *builder, size_t count, size_t entry_size);

/* The same bytes once: texts, lists, choices. */
weft_ref builder_share(struct builder *builder, const void *bytes, size_t size);

/* struct weft_text. Never more than `BUILDER_TEXT_MAX` bytes: what is longer ends in "...". For what is compared use builder_bytes_text(). */
#define BUILDER_TEXT_MAX 4096u
weft_ref builder_text(struct builder *builder, const char *text);
weft_ref builder_bytes_text(struct builder *builder, const void *bytes, size_t size);

/* struct weft_list. */
weft_ref builder_list(struct builder *builder, const uint32_t *items, size_t count);

/* `ref` must be one that this builder gave. */
static inline void *builder_at(const struct builder *builder, weft_ref ref)
{
	return builder->base + ref;
}

static inline struct weft_image_header *builder_header(const struct builder *builder)
{
	return (struct weft_image_header *)(void *)builder->base;
}

/* Makes the image of it. The builder is empty then. Takes `claim` over on success. */
int builder_finish(struct builder *builder, struct ids_claim **claim, struct image **out);

/* ---- hash tables ----------------------------------------------------------------------------------------------------------------- */

struct table_key {
	uint32_t hash;      /* finished */
	weft_ref object;
};

/* struct weft_slot[*mask + 1], grown until no key needs more than WEFT_HASH_PROBES_MAX probes. No keys: 0 and a mask of 0. -E2BIG when more
 * keys than that share a hash. */
int table_build(struct builder *builder, const struct table_key *keys, size_t count, weft_ref *slots, uint32_t *mask);

#endif
