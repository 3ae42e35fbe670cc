/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only */
/* How many records of connections one pod may have. What a pod opens beyond that is left alone, so that it takes no place of another one's; an error would
 * be one that the mesh invented. At connect() and close() only. */
#ifndef WEFT_BPF_QUOTA_H
#define WEFT_BPF_QUOTA_H

#include "maps.h"

/* Below none, which is none, for a moment only: an entry may be younger than the connections of its pod. */
static __always_inline void connection_give(u32 pod_id)
{
	struct weft_pod_usage *usage = bpf_map_lookup_elem(&pod_usage, &pod_id);

	if (usage && (s32)__sync_fetch_and_add(&usage->connections, -1) <= 0)
		__sync_fetch_and_add(&usage->connections, 1);
}

/* False: it has as many as it may. */
static __always_inline bool connection_take(u32 pod_id)
{
	struct weft_pod_usage *usage = bpf_map_lookup_elem(&pod_usage, &pod_id);
	struct weft_control *settings = control_get();

	if (!usage || !settings)
		return true;
#ifndef WEFT_WITHOUT_QUOTA
	u32 held = *(volatile u32 *)&usage->connections;

	if ((s32)held > 0 && held >= settings->connections_each) {
		__sync_fetch_and_add(&usage->left_alone, 1);
		return false;
	}
#endif
	/* Those that connect at one moment on several processors may be one too many each. */
	__sync_fetch_and_add(&usage->connections, 1);
	return true;
}

/* Of whoever deletes the record, once. */
static __always_inline void connection_delete(u64 cookie, u32 pod_id)
{
	if (!bpf_map_delete_elem(&connections, &cookie))
		connection_give(pod_id);
}

#endif
