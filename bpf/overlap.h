/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only */
/* A segment that begins before the end of what has come already (a retransmission in other pieces) is queued whole by TCP, and who reads skips what
 * he had. A verdict program is given all of it: without this, those bytes would come twice. */
#ifndef WEFT_BPF_OVERLAP_H
#define WEFT_BPF_OVERLAP_H

#include "kernel.h"

#define OVERLAP_STEP 0xfff /* what the helper cuts off at a time */
#define OVERLAP_STEPS 17   /* 64 KB */

/* Cuts off what came before. `received_seq`: where this socket's bytes end; they all pass here. False: that was not possible. */
static __always_inline bool overlap_cut(struct __sk_buff *skb, u32 *received_seq)
{
	u32 seq = skb->cb[0]; /* TCP's own: struct tcp_skb_cb begins with it */
	u32 len = skb->len, twice = *received_seq - seq;

	if ((s32)twice <= 0) {
		*received_seq = seq + len;
		return true;
	}
	if (twice >= len)
		return false; /* TCP throws away what is not new at all */
	*received_seq = seq + len;
	for (u32 i = 0; i < OVERLAP_STEPS && twice; i++) {
		u32 step = twice < OVERLAP_STEP ? twice : OVERLAP_STEP;

		if (bpf_skb_adjust_room(skb, -(s32)step, 0, 0))
			return false;
		twice -= step;
	}
	return !twice;
}

#endif
