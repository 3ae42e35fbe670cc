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

static int pages_create(const struct image *image, uint32_t page_count, int *out)
{
	LIBBPF_OPTS(bpf_map_create_opts, options, .map_flags = BPF_F_MMAPABLE | BPF_F_INNER_MAP);
	_cleanup_close_ int fd = -1;
	size_t size = (size_t)page_count * WEFT_PAGE_SIZE;
	void *memory;

	fd = bpf_map_create(BPF_MAP_TYPE_ARRAY, "weft_pages", sizeof(uint32_t), WEFT_PAGE_SIZE, page_count, &options);
	if (fd < 0)
		return log_err(-errno, "creating %u image pages", page_count);
	memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (memory == MAP_FAILED)
		return log_err(-errno, "mapping %u image pages", page_count);
	memcpy(memory, image->base, image->size_bytes);
	munmap(memory, size);
	*out = TAKE_FD(fd);
	return 0;
}

int datapath_publish(struct datapath *dp, uint32_t scope, const struct image *image)
{
	const struct weft_image_header *header = (const void *)image->base;
	_cleanup_close_ int pages_fd = -1;
	struct weft_scope_state *state;
	uint64_t *generation;
	uint32_t *current, slot;
	int r;

	if (scope >= WEFT_SCOPES_MAX || (header->kind != WEFT_IMAGE_ROUTES && header->kind != WEFT_IMAGE_ENDPOINTS))
		return -EINVAL;
	if (header->page_count > WEFT_IMAGE_PAGES_MAX)
		return log_err(-E2BIG, "image has %u pages, limit is %u: the old generation keeps serving", header->page_count,
			       WEFT_IMAGE_PAGES_MAX);
	r = pages_create(image, header->page_count, &pages_fd);
	if (r)
		return r;

	state = &dp->scopes[scope];
	generation = header->kind == WEFT_IMAGE_ROUTES ? &state->route_generation : &state->endpoint_generation;
	current = header->kind == WEFT_IMAGE_ROUTES ? &state->route_slot : &state->endpoint_slot;
	/* The slot was last current WEFT_GENERATIONS publications ago; the kernel frees what hung there after its grace period. */
	slot = WEFT_IMAGE_SLOT(scope, header->kind, *generation + 1);
	if (bpf_map_update_elem(dp->maps[MAP_IMAGES], &slot, &pages_fd, BPF_ANY))
		return log_err(-errno, "publishing generation %llu", (unsigned long long)*generation + 1);
	__atomic_store_n(current, slot, __ATOMIC_SEQ_CST);
	__atomic_store_n(generation, *generation + 1, __ATOMIC_SEQ_CST);
	return 0;
}

uint64_t datapath_generation(const struct datapath *dp, uint32_t scope, enum weft_image_kind kind)
{
	if (scope >= WEFT_SCOPES_MAX)
		return 0;
	return kind == WEFT_IMAGE_ROUTES ? dp->scopes[scope].route_generation : dp->scopes[scope].endpoint_generation;
}
