/* SPDX-License-Identifier: Apache-2.0 */
#include "compile/builder.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"

/* Beyond this a table only grows because of equal hashes, and growing doesn't help. */
#define SLOTS_PER_KEY_MAX 256u

static bool fill(struct weft_slot *slots, uint32_t mask, const struct table_key *keys, size_t count)
{
	size_t i;

	memset(slots, 0, ((size_t)mask + 1) * sizeof(*slots));
	for (i = 0; i < count; i++) {
		uint32_t probe, at = keys[i].hash & mask;

		for (probe = 0; slots[at].object; probe++) {
			if (probe == WEFT_HASH_PROBES_MAX - 1)
				return false;
			at = (at + 1) & mask;
		}
		slots[at] = (struct weft_slot){ .hash = keys[i].hash, .object = keys[i].object };
	}
	return true;
}

int table_build(struct builder *builder, const struct table_key *keys, size_t count, weft_ref *slots, uint32_t *mask)
{
	_cleanup_free_ struct weft_slot *built = NULL;
	uint64_t slot_count = 2, slot_limit;

	*slots = 0;
	*mask = 0;
	if (!count)
		return 0;
	if (count > (size_t)WEFT_IMAGE_PAGES_MAX * WEFT_PAGE_SIZE / sizeof(*built))
		return -E2BIG;
	/* Two slots a key at first: look-ups that miss, as most do among wildcards, stay short. */
	while (slot_count < count * 2)
		slot_count *= 2;
	slot_limit = (uint64_t)count * SLOTS_PER_KEY_MAX + 1024;
	for (; slot_count <= slot_limit && slot_count * sizeof(*built) <= (uint64_t)WEFT_IMAGE_PAGES_MAX * WEFT_PAGE_SIZE; slot_count *= 2) {
		free(built);
		built = malloc((size_t)slot_count * sizeof(*built));
		if (!built)
			return -ENOMEM;
		if (!fill(built, (uint32_t)slot_count - 1, keys, count))
			continue;

		*slots = builder_table(builder, (size_t)slot_count, sizeof(*built));
		if (!*slots)
			return builder_status(builder);
		memcpy(builder_at(builder, *slots), built, (size_t)slot_count * sizeof(*built));
		*mask = (uint32_t)slot_count - 1;
		return 0;
	}
	return -E2BIG;
}
