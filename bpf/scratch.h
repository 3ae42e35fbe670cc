/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only */
/* Working memory for one program run. A run may be preempted by another on the same CPU (a task by a task, either by softirq),
 * so a CPU has several places and a run claims one by compare-and-swap, in any order of coming and going. */
#ifndef WEFT_BPF_SCRATCH_H
#define WEFT_BPF_SCRATCH_H

#include "exchange.h"
#include "maps.h"
#include "weft/canonical.h"
#include "weft/changes.h"
#include "weft/hash.h"
#include "weft/router.h"

#define SCRATCH_PLACES 6

struct scratch {
	u32 is_taken;
	u32 sent_head_len; /* of the head as the client sent it */
	u32 is_rewritten;  /* `head` and `bytes` are that as Envoy would write it: weft/canonical.h */
	u32 picked; /* endpoint; 0: none yet */
	u64 cookie; /* of the client */
	u64 route_generation; /* of the image that routes this request; 0: none is published */
	struct weft_head_bytes bytes;
	struct weft_head head;
	struct weft_change change;
	struct weft_route_query route_query;
	struct weft_route_result route;
	struct weft_hash_query hash_query;
	struct weft_balance_query balance_query;
	struct weft_endpoint endpoint;
	struct lease lease;
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, SCRATCH_PLACES);
	__type(key, u32);
	__type(value, struct scratch);
} scratches SEC(".maps");

static __always_inline struct scratch *scratch_take(void)
{
	for (u32 i = 0; i < SCRATCH_PLACES; i++) {
		u32 key = i;
		struct scratch *scratch = bpf_map_lookup_elem(&scratches, &key);

		if (scratch && !__sync_val_compare_and_swap(&scratch->is_taken, 0, 1))
			return scratch;
	}
	return NULL;
}

/* Nobody but this CPU looks: a plain store. An atomic one would wait here for every line that the run has written and another CPU has. */
static __always_inline void scratch_give(struct scratch *scratch)
{
	asm volatile("" ::: "memory");
	*(volatile u32 *)&scratch->is_taken = 0;
}

#endif
