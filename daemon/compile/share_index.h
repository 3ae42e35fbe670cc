/* SPDX-License-Identifier: Apache-2.0 */
/* Which of a cluster's shares has an address. */
#ifndef WEFT_COMPILE_SHARE_INDEX_H
#define WEFT_COMPILE_SHARE_INDEX_H

#include "compile/balance.h"

struct share_index {
	uint32_t *slots; /* index of the share + 1; 0: free */
	size_t mask;
};

/* With room for `capacity` shares. -ENOMEM. */
int share_index_init(struct share_index *index, size_t capacity);
void share_index_release(struct share_index *index);

/* Of the share with this address: its index + 1. 0: there is none, and whoever adds it writes its index + 1 there. */
uint32_t *share_index_slot(const struct share_index *index, const struct share *shares, const struct mesh_address *address);

#endif
