// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only
/* What is tried at start, on a connection of weftd's own (daemon/datapath/probe.c). An object by itself: a kernel that refuses it still
 * loads the datapath. */
#include "kernel.h"

#include "weft/probe.h"

/* The edits of a local reply, in the same words: WEFT_PROBE_PUSHED in front, the last WEFT_PROBE_POPPED bytes off. */
SEC("sk_msg")
int probe_push_pop(struct sk_msg_md *msg)
{
	u32 pushed = sizeof(WEFT_PROBE_PUSHED) - 1, size;
	u8 *data, *end;

	if (bpf_msg_push_data(msg, 0, pushed, 0))
		return SK_PASS;
	size = msg->size;
	if (size <= WEFT_PROBE_POPPED || bpf_msg_pop_data(msg, size - WEFT_PROBE_POPPED, WEFT_PROBE_POPPED, 0))
		return SK_PASS;
	if (bpf_msg_pull_data(msg, 0, pushed, 0))
		return SK_PASS;
	data = (void *)(long)msg->data;
	end = (void *)(long)msg->data_end;
	if (data + sizeof(WEFT_PROBE_PUSHED) - 1 > end)
		return SK_PASS;
	__builtin_memcpy(data, WEFT_PROBE_PUSHED, sizeof(WEFT_PROBE_PUSHED) - 1);
	return SK_PASS;
}

struct {
	__uint(type, BPF_MAP_TYPE_SOCKMAP);
	__uint(max_entries, 1);
	__type(key, u32);
	__type(value, u64);
} probe_sockets SEC(".maps");

/* What a redirect into a reader's queue is, and nothing else. */
SEC("sk_msg")
int probe_redirect(struct sk_msg_md *msg)
{
	return bpf_msg_redirect_map(msg, &probe_sockets, WEFT_PROBE_TARGET, BPF_F_INGRESS);
}

char LICENSE[] SEC("license") = "GPL";
