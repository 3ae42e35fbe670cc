/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only */
/* A message's first bytes, copied to where the parser may walk over them. */
#ifndef WEFT_BPF_MESSAGE_H
#define WEFT_BPF_MESSAGE_H

#include "scratch.h"

/* Copies what lies in the first fragment, at most WEFT_KERNEL_HEAD_MAX bytes; returns how many. */
static __always_inline u32 message_copy(struct sk_msg_md *msg, struct scratch *scratch)
{
	u64 start = (u64)msg->data, end = (u64)msg->data_end, size = end - start;

	if (start >= end)
		return 0;
	if (size > WEFT_KERNEL_HEAD_MAX)
		size = WEFT_KERNEL_HEAD_MAX;
	asm volatile("" : "+r"(size));
	if (size > WEFT_KERNEL_HEAD_MAX) /* again, in the register that the helper gets */
		return 0;
	if (bpf_probe_read_kernel(scratch->bytes.data, (u32)size, (void *)start))
		return 0;
	return (u32)size;
}

/* The same after gathering the message's fragments: a head may be spread over several. */
static __always_inline u32 message_pull(struct sk_msg_md *msg, struct scratch *scratch)
{
	u32 size = msg->size;

	if (size > WEFT_KERNEL_HEAD_MAX)
		size = WEFT_KERNEL_HEAD_MAX;
	if (bpf_msg_pull_data(msg, 0, size, 0))
		return 0;
	return message_copy(msg, scratch);
}

/* Up to eight bytes of the first fragment, as a little-endian number; 0: they are not all there. */
static __always_inline u64 message_word(struct sk_msg_md *msg, u32 off, u32 n)
{
	u64 at = (u64)msg->data + off, end = (u64)msg->data_end, word = 0;

	if (at + n > end)
		return 0;
	asm volatile("" : "+r"(n));
	if (n > sizeof(word)) /* in the register that the helper gets */
		return 0;
	return bpf_probe_read_kernel(&word, n, (void *)at) ? 0 : word;
}

/* Where there is no memory for all of a message, the kernel moves its beginning and runs the program again for the rest (bpf_tcp_ingress). Every other
 * message begins with its first fragment, but for what follows a split. */
static __always_inline bool is_rest_of_message(struct sk_msg_md *msg)
{
	struct sk_msg *own = KERNEL_OBJECT(struct sk_msg, (u64)msg);

	return KERNEL_READ(own, sg.start);
}

/* SK_PASS for what is left of a split write. The kernel keeps the target of an earlier run in the message, so that a plain SK_PASS would
 * follow it; sending on the socket itself is the same thing in other words. After the first split a socket passes everything so. */
static __always_inline int message_pass(struct sk_msg_md *msg, void *own_sockets, u64 cookie, bool is_split)
{
	if (is_split) {
		bpf_msg_apply_bytes(msg, 0);
		if (bpf_msg_redirect_hash(msg, own_sockets, &cookie, 0) != SK_PASS)
			return SK_DROP; /* a socket that runs this program is in its map */
	}
	return SK_PASS;
}

#endif
