/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only */
/* Is the last response really in the client's queue? A program's verdict comes before the move: between the two the client's queues look
 * empty, and if the server's task is preempted there, a pipelined request would be answered by a faster server first. Nothing runs
 * after the move that could tell, but the move itself leaves marks, in an order that has no gap:
 *
 *   server's sendmsg:  [socket locked by its task: program, sock_hold(client)] [client held: the bytes are queued, sock_put(client)]
 *   softirq:           [upstream's lock held: program, the bytes are queued]
 *
 * So: first the mover's lock, then the references of the client beyond the known ones. What holds one for another cause (a timer that
 * we don't know, a packet in softirq) only makes the answer "not proven": the proxy takes the request, and asks again. */
#ifndef WEFT_BPF_DELIVERED_H
#define WEFT_BPF_DELIVERED_H

#include "kernel.h"
#include "weft/abi.h"

/* An open TCP socket in a sockmap is held by its file and by its psock (sk_psock_init). Timers hold it while they are pending. */
#define OPEN_REFERENCES 2

static __always_inline bool lock_is_free(struct sock *sk)
{
	u32 slock = 0;

	if (KERNEL_READ(sk, sk_lock.owned))
		return false;
	if (has_direct_reads)
		slock = *(const u32 *)&sk->sk_lock.slock;
	else
		bpf_core_read(&slock, sizeof(slock), &sk->sk_lock.slock);
	return !slock;
}

/* `known`: further references that the caller knows of. */
static __always_inline bool is_held_for_a_move(u64 address, u32 known)
{
	struct sock *sk = KERNEL_OBJECT(struct sock, address);
	struct inet_connection_sock *icsk = KERNEL_OBJECT(struct inet_connection_sock, address);
	u32 references = (u32)KERNEL_READ(sk, __sk_common.skc_refcnt.refs.counter);

	references -= KERNEL_READ(sk, sk_timer.entry.pprev) != NULL;
	references -= KERNEL_READ(icsk, icsk_retransmit_timer.entry.pprev) != NULL;
	references -= KERNEL_READ(icsk, icsk_delack_timer.entry.pprev) != NULL;
	return references > OPEN_REFERENCES + known;
}

/* `is_own_run`: asked with the client's lock, as its own programs are. `known`: references to the client that the caller knows of. */
static __always_inline bool delivery_is_proven(struct weft_connection *connection, u64 cookie, bool is_own_run, u32 known)
{
	struct sock *client = KERNEL_OBJECT(struct sock, connection->sock);
	u32 kind = connection->mover;

	if (kind == WEFT_MOVER_NONE)
		return true;
	if (kind == WEFT_MOVER_CLIENT) {
		if (!is_own_run && !lock_is_free(client))
			return false;
	} else {
		struct sock *mover = KERNEL_OBJECT(struct sock, connection->mover_sock);

		if ((u64)KERNEL_READ(mover, __sk_common.skc_cookie.counter) == connection->mover_cookie && !lock_is_free(mover))
			return false;
	}
	if (kind == WEFT_MOVER_UPSTREAM)
		return true;
	READS_IN_ORDER(&connection->mover); /* first the lock, then the references */
	return !is_held_for_a_move(connection->sock, known);
}

/* How often a request looks before it goes the slow way, 8 ns each. A client that is woken on another CPU is back before the server's
 * send call has let go of its lock (waking takes some microseconds in a virtual machine): waiting here is cheaper than the proxy. The move
 * itself needs the client's lock, which this run holds, so a client that did not wait for its answer waits for nothing. */
#define DELIVERY_TRIES 1024

struct delivery_wait {
	struct weft_connection *connection;
	u64 cookie;
	u32 is_proven;
};

WEFT_STEP delivery_wait_step(u32 index, void *context)
{
	struct delivery_wait *wait = context;

	wait->is_proven = delivery_is_proven(wait->connection, wait->cookie, true, 0);
	return wait->is_proven;
}

/* For the client's own run. */
static __always_inline bool delivery_wait(struct weft_connection *connection, u64 cookie)
{
	struct delivery_wait wait = {.connection = connection, .cookie = cookie};

	if (delivery_is_proven(connection, cookie, true, 0))
		return true;
	WEFT_LOOP(DELIVERY_TRIES, delivery_wait_step, &wait);
	return wait.is_proven;
}

/* The same for a request on the bypass: its server may answer before the last part of the body is moved, and the answer gives the upstream
 * back. The mover is the client whose exchange it was. `own_cookie`: of the client whose run asks, and holds that one's lock. */
static __always_inline bool body_has_arrived(struct weft_upstream *upstream, u64 own_cookie)
{
#ifndef WEFT_WITHOUT_ARRIVED
	struct sock *client = KERNEL_OBJECT(struct sock, upstream->body_sock);

	if (!upstream->body_sock)
		return true;
	if (upstream->client_cookie != own_cookie && (u64)KERNEL_READ(client, __sk_common.skc_cookie.counter) == upstream->client_cookie &&
	    !lock_is_free(client))
		return false;
	READS_IN_ORDER(&upstream->body_sock);
	return !is_held_for_a_move(upstream->server_sock, 0);
#else
	return true;
#endif
}

#endif
