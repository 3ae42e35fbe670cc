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

static __always_inline void socket_queues_read(u64 address, u64 cookie, struct socket_queues *out)
{
	struct sock *sk = (void *)address;
	struct tcp_sock *tp = (void *)address;
	unsigned long user_data;
	u32 copied_seq;

	out->is_known = 0;
	out->undelivered = 0;
	out->has_messages = 0;
	out->unread = 0;
	out->rcv_nxt = 0;
	out->write_seq = 0;
	out->free_send_bytes = 0;
	out->free_receive_bytes = 0;
	if (!sk || (u64)BPF_CORE_READ(sk, __sk_common.skc_cookie.counter) != cookie)
		return;

	user_data = (unsigned long)BPF_CORE_READ(sk, sk_user_data);
	if (user_data & PSOCK_BIT) {
		struct sk_psock *psock = (void *)(user_data & PSOCK_MASK);
		u64 head = (u64)psock + __builtin_preserve_field_info(psock->ingress_msg, 0 /* BPF_FIELD_BYTE_OFFSET */);

		out->undelivered = BPF_CORE_READ(psock, ingress_skb.qlen);
		out->has_messages = (u64)BPF_CORE_READ(psock, ingress_msg.next) != head;
	}
	copied_seq = BPF_CORE_READ(tp, copied_seq);
	out->rcv_nxt = BPF_CORE_READ(tp, rcv_nxt);
	out->write_seq = BPF_CORE_READ(tp, write_seq);
	out->unread = out->rcv_nxt - copied_seq;
	out->free_send_bytes = BPF_CORE_READ(sk, sk_sndbuf) - BPF_CORE_READ(sk, sk_wmem_queued);
	out->free_receive_bytes = BPF_CORE_READ(sk, sk_rcvbuf) - BPF_CORE_READ(sk, sk_backlog.rmem_alloc.counter);
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
