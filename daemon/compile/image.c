/* SPDX-License-Identifier: Apache-2.0 */
#include "compile/compile.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/mman.h>

#include "compile/ids.h"
#include "compile/view.h"

void image_free(struct image **image)
{
	if (!image || !*image)
		return;
	if ((*image)->base)
		munmap((*image)->base, (size_t)(*image)->page_count * WEFT_PAGE_SIZE);
	ids_claim_release(&(*image)->claim);
	free((*image)->sources);
	free(*image);
	*image = NULL;
}

static int check_cluster(const struct view *view, weft_ref ref)
{
	const struct weft_cluster *cluster = view_at(view, ref, 1, sizeof(*cluster));

	if (!cluster || !view_text(view, cluster->name))
		return -EINVAL;
	if (cluster->endpoint_count && !view_at(view, cluster->endpoints, cluster->endpoint_count, sizeof(struct weft_endpoint)))
		return -EINVAL;
	if (cluster->schedule_len && !view_at(view, cluster->schedule, cluster->schedule_len, sizeof(uint16_t)))
		return -EINVAL;
	if (cluster->priority_count) {
		const struct weft_priority *priorities = view_at(view, cluster->priorities, cluster->priority_count, sizeof(*priorities));
		uint32_t i;

		for (i = 0; priorities && i < cluster->priority_count; i++)
			if (!view_at(view, priorities[i].schedule, priorities[i].schedule_len, sizeof(uint16_t)))
				return -EINVAL;
		if (!priorities)
			return -EINVAL;
	}
	if (cluster->hash_level_count) {
		const struct weft_hash_level *levels = view_at(view, cluster->hash_levels, cluster->hash_level_count, sizeof(*levels));
		uint32_t i;

		for (i = 0; levels && i < cluster->hash_level_count; i++)
			if (levels[i].size && (!view_at(view, levels[i].picks, levels[i].size, sizeof(uint16_t)) ||
					       (levels[i].hashes && !view_at(view, levels[i].hashes, levels[i].size, sizeof(uint64_t)))))
				return -EINVAL;
		if (!levels)
			return -EINVAL;
	}
	return 0;
}

int image_check(const uint8_t *base, uint32_t size_bytes)
{
	struct view view = { base, size_bytes };
	const struct weft_image_header *header = view_header(&view);
	const weft_ref *directory;
	uint32_t i;

	if (size_bytes < sizeof(*header) || header->magic != WEFT_IMAGE_MAGIC || header->version != WEFT_IMAGE_VERSION)
		return -EINVAL;
	if (header->size_bytes > size_bytes || header->page_count > WEFT_IMAGE_PAGES_MAX ||
	    header->size_bytes > (uint64_t)header->page_count * WEFT_PAGE_SIZE)
		return -EINVAL;
	view.size_bytes = header->size_bytes;
	if (header->kind == WEFT_IMAGE_ROUTES) {
		if (header->listener_slots && !view_at(&view, header->listener_slots, (uint64_t)header->listener_mask + 1, sizeof(struct weft_slot)))
			return -EINVAL;
		return view_list(&view, header->listeners) && view_list(&view, header->route_tables) ? 0 : -EINVAL;
	}
	if (header->kind != WEFT_IMAGE_ENDPOINTS)
		return -EINVAL;
	directory = view_at(&view, header->cluster_directory, header->cluster_count, sizeof(*directory));
	if (header->cluster_count && !directory)
		return -EINVAL;
	for (i = 0; i < header->cluster_count; i++)
		if (directory[i] && check_cluster(&view, directory[i]))
			return -EINVAL;
	return 0;
}
