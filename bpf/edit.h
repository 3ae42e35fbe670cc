/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only */
/* A request's head with the changes of its route, in the message itself: room is made at its front, then written over. */
#ifndef WEFT_BPF_EDIT_H
#define WEFT_BPF_EDIT_H

#include "scratch.h"
#include "weft/changes.h"

const volatile bool has_push_pop = true;

#define WRITE_BLOCK 64u
#define WRITE_MAX WEFT_CHANGED_MAX /* bytes of one write: less than that */

struct message_write {
	struct sk_msg_md *msg;
	const u8 *from;
};

WEFT_STEP message_write_step(u32 index, void *context)
{
	struct message_write *run = context;
	u32 off = (index & (WRITE_MAX / WRITE_BLOCK - 1)) * WRITE_BLOCK;
	u8 *data = (void *)(long)run->msg->data, *end = (void *)(long)run->msg->data_end;
	const u8 *from = run->from + off;
	u32 i;

	data += off;
	if (data + WRITE_BLOCK > end)
		return 1;
#pragma clang loop unroll(full)
	for (i = 0; i < WRITE_BLOCK; i += 8)
		*(u64 *)(data + i) = *(const u64 *)(from + i);
	return 0;
}

static __always_inline bool message_write_word(struct sk_msg_md *msg, const u8 *from, u32 off)
{
	u8 *data = (void *)(long)msg->data, *end = (void *)(long)msg->data_end;

	off &= WRITE_MAX - 1; /* off < WRITE_MAX: the mask only tells the verifier */
	data += off;
	if (data + 8 > end)
		return false;
	*(u64 *)data = *(const u64 *)(from + off);
	return true;
}

/* Writes 8 <= len < WRITE_MAX bytes over the message's first ones, which are there in one piece: blocks, words, and the last eight once more. */
WEFT_STAGE int message_write(struct sk_msg_md *msg, struct scratch *scratch, u32 is_changed, u32 len)
{
	struct message_write run = {.msg = msg};
	u32 off, i;

	if (!scratch || len < 8 || len >= WRITE_MAX)
		return 0;
	run.from = is_changed ? scratch->change.out : scratch->bytes.data;
	bpf_loop(len / WRITE_BLOCK, message_write_step, &run, 0);
	off = len & ~(WRITE_BLOCK - 1);
	for (i = 0; i < WRITE_BLOCK / 8 - 1; i++) {
		if (off + 8 * i + 8 > len)
			break;
		if (!message_write_word(msg, run.from, off + 8 * i))
			return 0;
	}
	return message_write_word(msg, run.from, len - 8);
}

/* Puts the `len` bytes at scratch->change.out in place of the message's first `old_len`. Returns false: there was no memory, the client's bytes are
 * as they were. A longer head gets a piece of its own, so that no byte of a body is copied; a shorter one is written where the old one was. */
static __always_inline bool edit_head(struct sk_msg_md *msg, struct scratch *scratch, u32 old_len, u32 len)
{
	if (len > old_len) {
		if (bpf_msg_push_data(msg, 0, len, 0))
			return false;
		if (bpf_msg_pop_data(msg, len, old_len, 0)) {
			bpf_msg_pop_data(msg, 0, len, 0);
			return false;
		}
	} else {
		if (bpf_msg_pull_data(msg, 0, old_len, 0))
			return false;
		if (len < old_len && bpf_msg_pop_data(msg, 0, old_len - len, 0))
			return false;
	}
	return message_write(msg, scratch, 1, len);
}

#endif
