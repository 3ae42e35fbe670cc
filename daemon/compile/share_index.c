/* SPDX-License-Identifier: Apache-2.0 */
#include "compile/share_index.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "weft/address_host.h"
#include "weft/image.h"

int share_index_init(struct share_index *index, size_t capacity)
{
	size_t mask = 15;

	while (mask < capacity * 2)
		mask = mask * 2 + 1;
	*index = (struct share_index){ .slots = calloc(mask + 1, sizeof(*index->slots)), .mask = mask };
	return index->slots ? 0 : -ENOMEM;
}

void share_index_release(struct share_index *index)
{
	free(index->slots);
	index->slots = NULL;
}

static bool is_same(const struct mesh_address *a, const struct mesh_address *b)
{
	return a->port == b->port && a->family == b->family && !memcmp(a->ip, b->ip, sizeof(a->ip));
}

uint32_t *share_index_slot(const struct share_index *index, const struct share *shares, const struct mesh_address *address)
{
	const struct weft_address key = weft_address_from(address->family, address->ip);
	size_t at;

	for (at = weft_listener_hash(&key, address->port) & index->mask;
	     index->slots[at] && !is_same(&shares[index->slots[at] - 1].endpoint->address, address); at = (at + 1) & index->mask)
		;
	return &index->slots[at];
}
