// SPDX-License-Identifier: Apache-2.0
/* Publishing an image: pages written through mmap into a map of their own, hung into the outer map, made current by one store. */
#include <bpf/bpf.h>
#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/log.h"
#include "compile/compile.h"
#include "datapath/internal.h"

#define PREPARED_PAGES_MAX 64u /* 16 MiB; a larger image is published the slow way */

static int pages_create(uint32_t page_count, int *out, void **memory)
{
	LIBBPF_OPTS(bpf_map_create_opts, options, .map_flags = BPF_F_MMAPABLE | BPF_F_INNER_MAP);
	_cleanup_close_ int fd = -1;
	void *mapped;

	fd = bpf_map_create(BPF_MAP_TYPE_ARRAY, "weft_pages", sizeof(uint32_t), WEFT_PAGE_SIZE, page_count, &options);
	if (fd < 0)
		return log_err(-errno, "creating %u image pages", page_count);
	mapped = mmap(NULL, (size_t)page_count * WEFT_PAGE_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, fd, 0);
	if (mapped == MAP_FAILED)
		return log_err(-errno, "mapping %u image pages", page_count);
	*memory = mapped;
	*out = TAKE_FD(fd);
	return 0;
}

static void next_forget(struct next_pages *next)
{
	if (next->memory)
		munmap(next->memory, (size_t)next->page_count * WEFT_PAGE_SIZE);
	next->memory = NULL;
}

void datapath_forget_next(struct datapath *dp)
{
	for (uint32_t i = 0; i < WEFT_SCOPES_MAX; i++) {
		next_forget(&dp->next[i][0]);
		next_forget(&dp->next[i][1]);
	}
}

/* Pages in the slot of a generation that nobody reads yet. The slot was last current WEFT_GENERATIONS publications before that one; the kernel
 * frees what hung there after its grace period. */
static int next_make(struct datapath *dp, uint32_t scope, enum weft_image_kind kind, uint64_t generation, uint32_t page_count, struct next_pages *next)
{
	uint32_t slot = WEFT_IMAGE_SLOT(scope, kind, generation);
	_cleanup_close_ int fd = -1;
	void *memory = NULL;
	int r;

	next_forget(next);
	r = pages_create(page_count, &fd, &memory);
	if (r)
		return r;
	if (bpf_map_update_elem(dp->maps[MAP_IMAGES], &slot, &fd, BPF_ANY)) {
		r = log_err(-errno, "publishing generation %llu", (unsigned long long)generation);
		munmap(memory, (size_t)page_count * WEFT_PAGE_SIZE);
		return r;
	}
	next->memory = memory;
	next->page_count = page_count;
	next->generation = generation;
	return 0;
}

int datapath_publish(struct datapath *dp, uint32_t scope, const struct image *image)
{
	const struct weft_image_header *header = (const void *)image->base;
	struct weft_scope_state *state;
	struct next_pages *next;
	uint64_t *generation;
	uint32_t *current;
	int r;

	if (scope >= WEFT_SCOPES_MAX || (header->kind != WEFT_IMAGE_ROUTES && header->kind != WEFT_IMAGE_ENDPOINTS))
		return -EINVAL;
	if (header->page_count > WEFT_IMAGE_PAGES_MAX)
		return log_err(-E2BIG, "image has %u pages, limit is %u: the old generation keeps serving", header->page_count,
			       WEFT_IMAGE_PAGES_MAX);
	state = &dp->scopes[scope];
	next = &dp->next[scope][header->kind - 1];
	generation = header->kind == WEFT_IMAGE_ROUTES ? &state->route_generation : &state->endpoint_generation;
	current = header->kind == WEFT_IMAGE_ROUTES ? &state->route_slot : &state->endpoint_slot;
	if (!next->memory || next->generation != *generation + 1 || next->page_count < header->page_count) {
		r = next_make(dp, scope, header->kind, *generation + 1, header->page_count, next);
		if (r)
			return r;
	}
	memcpy(next->memory, image->base, image->size_bytes);
	next_forget(next);
	next->published_page_count = header->page_count;
	__atomic_store_n(current, WEFT_IMAGE_SLOT(scope, header->kind, *generation + 1), __ATOMIC_SEQ_CST);
	__atomic_store_n(generation, *generation + 1, __ATOMIC_SEQ_CST);
	return 0;
}

/* The pages that serve a scope. */
static int pages_open(const struct datapath *dp, uint32_t scope, enum weft_image_kind kind, int *out)
{
	uint32_t id, slot = kind == WEFT_IMAGE_ROUTES ? dp->scopes[scope].route_slot : dp->scopes[scope].endpoint_slot;
	int fd;

	if (bpf_map_lookup_elem(dp->maps[MAP_IMAGES], &slot, &id))
		return log_err(-errno, "finding the image of scope %u", scope);
	fd = bpf_map_get_fd_by_id(id);
	if (fd < 0)
		return log_err(-errno, "opening the image of scope %u", scope);
	*out = fd;
	return 0;
}

int datapath_publish_shared(struct datapath *dp, uint32_t scope, enum weft_image_kind kind, uint32_t from)
{
	_cleanup_close_ int fd = -1;
	struct weft_scope_state *state;
	uint64_t generation;
	uint32_t slot;
	int r;

	if (scope >= WEFT_SCOPES_MAX || !datapath_generation(dp, from, kind))
		return -EINVAL;
	r = pages_open(dp, from, kind, &fd);
	if (r)
		return r;
	state = &dp->scopes[scope];
	generation = datapath_generation(dp, scope, kind) + 1;
	slot = WEFT_IMAGE_SLOT(scope, kind, generation);
	if (bpf_map_update_elem(dp->maps[MAP_IMAGES], &slot, &fd, BPF_ANY))
		return log_err(-errno, "publishing generation %llu", (unsigned long long)generation);
	/* Pages that were made ready hung where these hang now. */
	next_forget(&dp->next[scope][kind - 1]);
	dp->next[scope][kind - 1].published_page_count = 0;
	__atomic_store_n(kind == WEFT_IMAGE_ROUTES ? &state->route_slot : &state->endpoint_slot, slot, __ATOMIC_SEQ_CST);
	__atomic_store_n(kind == WEFT_IMAGE_ROUTES ? &state->route_generation : &state->endpoint_generation, generation, __ATOMIC_SEQ_CST);
	return 0;
}

int datapath_prepare(struct datapath *dp, uint32_t scope, enum weft_image_kind kind)
{
	struct next_pages *next = &dp->next[scope][kind - 1];
	uint64_t generation = datapath_generation(dp, scope, kind) + 1;
	uint32_t page_count = next->published_page_count + next->published_page_count / 4 + 1;

	if (!next->published_page_count || page_count > PREPARED_PAGES_MAX || (next->memory && next->generation == generation))
		return 0;
	return next_make(dp, scope, kind, generation, page_count, next);
}

uint64_t datapath_generation(const struct datapath *dp, uint32_t scope, enum weft_image_kind kind)
{
	if (scope >= WEFT_SCOPES_MAX)
		return 0;
	return kind == WEFT_IMAGE_ROUTES ? dp->scopes[scope].route_generation : dp->scopes[scope].endpoint_generation;
}
