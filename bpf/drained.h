/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only */
/* drained(socket): the one primitive of the order rules. Nothing that was sent to this socket is still on its way or unread:
 * - no skb waits for the kernel worker (a FIN or a TCP byte would overtake it: kernel-facts, T2);
 * - no redirected message waits to be read (the next one would come behind it, but TCP bytes would come after both);
 * - no TCP byte is unread (a redirected message would overtake it).
 * The socket is named by its kernel address and its cookie: memory of a closed socket may have become another one. */
#ifndef WEFT_BPF_DRAINED_H
#define WEFT_BPF_DRAINED_H

#include "kernel.h"
#include "weft/abi.h"

#define PSOCK_BIT 4ul    /* SK_USER_DATA_PSOCK */
#define PSOCK_MASK (~7ul) /* SK_USER_DATA_PTRMASK */

struct socket_queues {
	u32 is_known;       /* 0: another socket lives there now */
	u32 undelivered;    /* skbs that wait for the kernel worker */
	u32 has_messages;   /* redirected messages wait to be read */
	u32 unread;         /* TCP bytes that wait to be read */
	u32 rcv_nxt;
	u32 write_seq;
	s32 free_send_bytes;
	s32 free_receive_bytes;
};

/* Which of them are asked for; a constant, so that a program reads no more than it needs. The others are 0. */
#define QUEUES_ARRIVED 0x1u   /* undelivered, has_messages, unread, rcv_nxt */
#define QUEUES_SENT 0x2u      /* write_seq */
#define QUEUES_SEND_ROOM 0x4u
#define QUEUES_RECEIVE_ROOM 0x8u

static __always_inline void socket_queues_read(u64 address, u64 cookie, u32 what, struct socket_queues *out)
{
	struct sock *sk = KERNEL_OBJECT(struct sock, address);
	struct tcp_sock *tp = KERNEL_OBJECT(struct tcp_sock, address);

	__builtin_memset(out, 0, sizeof(*out));
	if (!address || (u64)KERNEL_READ(sk, __sk_common.skc_cookie.counter) != cookie)
		return;

	if (what & QUEUES_ARRIVED) {
		u64 user_data = (u64)KERNEL_READ(sk, sk_user_data);

		if (user_data & PSOCK_BIT) {
			u64 place = user_data & PSOCK_MASK;
			struct sk_psock *psock = KERNEL_OBJECT(struct sk_psock, place);
			u64 head = place + __builtin_preserve_field_info(psock->ingress_msg, 0 /* BPF_FIELD_BYTE_OFFSET */);

			out->undelivered = KERNEL_READ(psock, ingress_skb.qlen);
			out->has_messages = (u64)KERNEL_READ(psock, ingress_msg.next) != head;
		}
		out->rcv_nxt = KERNEL_READ(tp, rcv_nxt);
		out->unread = out->rcv_nxt - KERNEL_READ(tp, copied_seq);
	}
	if (what & QUEUES_SENT)
		out->write_seq = KERNEL_READ(tp, write_seq);
	if (what & QUEUES_SEND_ROOM)
		out->free_send_bytes = KERNEL_READ(sk, sk_sndbuf) - KERNEL_READ(sk, sk_wmem_queued);
	if (what & QUEUES_RECEIVE_ROOM)
		out->free_receive_bytes = KERNEL_READ(sk, sk_rcvbuf) - KERNEL_READ(sk, sk_backlog.rmem_alloc.counter);
	out->is_known = 1;
}

static __always_inline bool queues_are_drained(const struct socket_queues *queues)
{
#ifdef WEFT_WITHOUT_DRAINED /* for the test that shows what this guard is for */
	return true;
#else
	return queues->is_known && !queues->undelivered && !queues->has_messages && !queues->unread;
#endif
}

#endif
