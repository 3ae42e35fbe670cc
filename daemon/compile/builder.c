/* SPDX-License-Identifier: Apache-2.0 */
#include "compile/builder.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "base/assert.h"
#include "base/cleanup.h"
#include "base/hash.h"

#define ALIGN 8u
#define SHARED_FIRST 1024u

static size_t aligned(size_t size)
{
	return (size + ALIGN - 1) & ~(size_t)(ALIGN - 1);
}

int builder_init(struct builder *builder, enum weft_image_kind kind, uint32_t page_limit)
{
	struct weft_image_header *header;
	void *memory;

	memset(builder, 0, sizeof(*builder));
	builder->page_limit = page_limit ? page_limit : WEFT_IMAGE_PAGES_MAX;
	weft_assert(builder->page_limit <= WEFT_IMAGE_PAGES_MAX);

	builder->shared = calloc(SHARED_FIRST, sizeof(*builder->shared));
	builder->shared_mask = SHARED_FIRST - 1;
	memory = mmap(NULL, (size_t)builder->page_limit * WEFT_PAGE_SIZE, PROT_READ | PROT_WRITE,
		      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (memory != MAP_FAILED)
		builder->base = memory;
	if (!builder->base || !builder->shared)
		return builder->status = -ENOMEM;

	header = memory;
	header->magic = WEFT_IMAGE_MAGIC;
	header->version = WEFT_IMAGE_VERSION;
	header->kind = (uint16_t)kind;
	builder->used = (uint32_t)aligned(sizeof(*header));
	return 0;
}

void builder_release(struct builder *builder)
{
	if (builder->base)
		munmap(builder->base, (size_t)builder->page_limit * WEFT_PAGE_SIZE);
	free(builder->shared);
	memset(builder, 0, sizeof(*builder));
}

static weft_ref fail(struct builder *builder, int r)
{
	if (!builder->status)
		builder->status = r;
	return 0;
}

weft_ref builder_alloc(struct builder *builder, size_t size)
{
	uint64_t start = builder->used;

	if (builder->status)
		return 0;
	if (size > BUILDER_OBJECT_MAX)
		return fail(builder, -EMSGSIZE);
	size = aligned(size ? size : 1);
	if ((start & WEFT_PAGE_MASK) + size > BUILDER_OBJECT_MAX)
		start = (start + WEFT_PAGE_SIZE - 1) & ~(uint64_t)WEFT_PAGE_MASK;
	if (start + size > (uint64_t)builder->page_limit * WEFT_PAGE_SIZE)
		return fail(builder, -E2BIG);
	builder->used = (uint32_t)(start + size);
	return (weft_ref)start;
}

weft_ref builder_alloc_early(struct builder *builder, size_t size, uint32_t step, uint32_t last)
{
	uint64_t start = ((uint64_t)builder->used + step - 1) & ~((uint64_t)step - 1);

	if (builder->status)
		return 0;
	if ((start & WEFT_PAGE_MASK) > last)
		start = (start + WEFT_PAGE_SIZE - 1) & ~(uint64_t)WEFT_PAGE_MASK;
	if (start + size > (uint64_t)builder->page_limit * WEFT_PAGE_SIZE)
		return fail(builder, -E2BIG);
	builder->used = (uint32_t)start;
	return builder_alloc(builder, size);
}

weft_ref builder_table(struct builder *builder, size_t count, size_t entry_size)
{
	uint64_t start, size = (uint64_t)count * entry_size;

	weft_assert(entry_size && entry_size <= ALIGN && !(entry_size & (entry_size - 1)));
	if (size <= BUILDER_OBJECT_MAX)
		return builder_alloc(builder, (size_t)size);
	if (builder->status)
		return 0;
	start = ((uint64_t)builder->used + WEFT_PAGE_SIZE - 1) & ~(uint64_t)WEFT_PAGE_MASK;
	if (size > (uint64_t)builder->page_limit * WEFT_PAGE_SIZE || start + size > (uint64_t)builder->page_limit * WEFT_PAGE_SIZE)
		return fail(builder, -E2BIG);
	builder->used = (uint32_t)(start + aligned((size_t)size));
	return (weft_ref)start;
}

static struct builder_shared *shared_find(const struct builder *builder, uint64_t hash, const void *bytes, size_t size)
{
	uint32_t i;

	for (i = (uint32_t)hash & builder->shared_mask;; i = (i + 1) & builder->shared_mask) {
		struct builder_shared *entry = &builder->shared[i];

		if (!entry->ref)
			return entry;
		if (entry->hash == hash && entry->size == size && (!bytes || !memcmp(builder->base + entry->ref, bytes, size)))
			return entry;
	}
}

static int shared_grow(struct builder *builder)
{
	uint32_t i, j, old_mask = builder->shared_mask, mask = old_mask * 2 + 1;
	struct builder_shared *old = builder->shared;
	struct builder_shared *grown = calloc((size_t)mask + 1, sizeof(*grown));

	if (!grown)
		return -ENOMEM;
	for (i = 0; i <= old_mask; i++) {
		if (!old[i].ref)
			continue;
		for (j = (uint32_t)old[i].hash & mask; grown[j].ref; j = (j + 1) & mask)
			;
		grown[j] = old[i];
	}
	builder->shared = grown;
	builder->shared_mask = mask;
	free(old);
	return 0;
}

weft_ref builder_share(struct builder *builder, const void *bytes, size_t size)
{
	struct builder_shared *entry;
	uint64_t hash;
	weft_ref ref;

	if (builder->status)
		return 0;
	hash = content_hash(bytes, size);
	entry = shared_find(builder, hash, bytes, size);
	if (entry->ref)
		return entry->ref;

	ref = builder_alloc(builder, size);
	if (!ref)
		return 0;
	memcpy(builder->base + ref, bytes, size);
	*entry = (struct builder_shared){ .hash = hash, .ref = ref, .size = (uint32_t)size };
	if (++builder->shared_count * 2 > builder->shared_mask && shared_grow(builder))
		return fail(builder, -ENOMEM);
	return ref;
}

weft_ref builder_bytes_text(struct builder *builder, const void *bytes, size_t size)
{
	_cleanup_free_ struct weft_text *text = NULL;

	if (size > BUILDER_OBJECT_MAX - sizeof(*text))
		return fail(builder, -EMSGSIZE);
	text = malloc(sizeof(*text) + size);
	if (!text)
		return fail(builder, -ENOMEM);
	text->len = (uint32_t)size;
	if (size)
		memcpy(text->bytes, bytes, size);
	return builder_share(builder, text, sizeof(*text) + size);
}

weft_ref builder_text(struct builder *builder, const char *text)
{
	char cut[BUILDER_TEXT_MAX];
	size_t size = strlen(text);

	if (size <= BUILDER_TEXT_MAX)
		return builder_bytes_text(builder, text, size);
	memcpy(cut, text, BUILDER_TEXT_MAX);
	memcpy(cut + BUILDER_TEXT_MAX - 3, "...", 3);
	return builder_bytes_text(builder, cut, BUILDER_TEXT_MAX);
}

weft_ref builder_list(struct builder *builder, const uint32_t *items, size_t count)
{
	_cleanup_free_ struct weft_list *list = NULL;
	size_t size;

	if (count > (BUILDER_OBJECT_MAX - sizeof(*list)) / sizeof(*items))
		return fail(builder, -EMSGSIZE);
	size = sizeof(*list) + count * sizeof(*items);
	list = malloc(size);
	if (!list)
		return fail(builder, -ENOMEM);
	list->count = (uint32_t)count;
	if (count)
		memcpy(list->items, items, count * sizeof(*items));
	return builder_share(builder, list, size);
}

int builder_finish(struct builder *builder, struct ids_claim **claim, struct image **out)
{
	struct weft_image_header *header = builder_header(builder);
	_cleanup_free_ struct image *image = NULL;
	uint64_t end;

	if (builder->status)
		return builder->status;
	image = calloc(1, sizeof(*image));
	if (!image)
		return -ENOMEM;

	image->page_count = (builder->used + WEFT_PAGE_SIZE - 1) >> WEFT_PAGE_SHIFT;
	end = (uint64_t)image->page_count * WEFT_PAGE_SIZE;
	image->size_bytes = (uint32_t)WEFT_MIN((uint64_t)builder->used + WEFT_PAGE_SLACK, end);
	header->size_bytes = image->size_bytes;
	header->page_count = image->page_count;
	header->content_hash = 0;
	header->content_hash = image->content_hash = content_hash(builder->base, image->size_bytes);
	image->kind = header->kind;

	if (end < (uint64_t)builder->page_limit * WEFT_PAGE_SIZE)
		munmap(builder->base + end, (size_t)((uint64_t)builder->page_limit * WEFT_PAGE_SIZE - end));
	image->base = builder->base;
	builder->base = NULL;
	if (claim)
		image->claim = TAKE_PTR(*claim);
	*out = TAKE_PTR(image);
	builder_release(builder);
	return 0;
}
