/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only */
/* Who may sleep in a read is none for a sockmap. The sockmap's reader answers a wake-up for nothing with EAGAIN, where TCP's own sleeps again
 * (tcp_bpf_recvmsg waits once), and wake-ups for nothing can't be avoided: the bytes are queued first and the reader is woken then, and one who was
 * there in between sleeps again by that time. A program with O_NONBLOCK expects EAGAIN; others know it from a time-out that they asked for.
 * - A client without it never enters the map; one that takes it away later stays with the proxy from its next request on, and leaves.
 * - A server without it, which shows when it has accepted, gets no request by way of the map, nor by TCP while it is in it: the proxy has its
 *   own connections. If it is so for a while (many a program accepts, and sets O_NONBLOCK a moment later), its upstream is closed, and those
 *   that are dialled within a minute don't enter the map: they take the remote path.
 */
#ifndef WEFT_BPF_BLOCKING_H
#define WEFT_BPF_BLOCKING_H

#include "exchange.h"
#include "kernel.h"
#include "maps.h"

#define O_NONBLOCK_BIT 04000u
#define SERVERS_BLOCK_S 60u
#define SERVER_SETTLES_NS 100000000ull

enum reads {
	READS_UNKNOWN, /* not accepted yet, or closed */
	READS_WAIT,
	READS_RETURN,
};

static __always_inline enum reads how_it_reads(u64 address)
{
#ifdef WEFT_WITHOUT_BLOCKING
	return READS_RETURN;
#else
	struct sock *sk = KERNEL_OBJECT(struct sock, address);
	u64 socket_place = (u64)KERNEL_READ(sk, sk_socket), file_place;
	struct socket *socket = KERNEL_OBJECT(struct socket, socket_place);
	struct file *file;

	if (!socket_place)
		return READS_UNKNOWN;
	file_place = (u64)KERNEL_READ(socket, file);
	file = KERNEL_OBJECT(struct file, file_place);
	if (!file_place)
		return READS_UNKNOWN;
	return KERNEL_READ(file, f_flags) & O_NONBLOCK_BIT ? READS_RETURN : READS_WAIT;
#endif
}

/* Did a server at this endpoint read so of late? */
static __always_inline bool servers_block(u32 endpoint_id)
{
	struct weft_endpoint_state *endpoint = weft_endpoint_state(endpoint_id);
	u32 seen_s = endpoint ? *(volatile u32 *)&endpoint->servers_block_s : 0;

	return seen_s && (u32)(bpf_ktime_get_ns() / 1000000000) - seen_s < SERVERS_BLOCK_S;
}

/* The server of an upstream that was just lent sleeps in its reads: given back, or for good. Nothing is open on it. */
static __always_inline void server_waits(struct weft_upstream *upstream, u32 slot, u64 word)
{
	u32 pod_id = upstream->pod_id, endpoint_id = upstream->endpoint_id;
	u64 now = bpf_ktime_get_ns(), cookie = upstream->cookie;
	struct weft_endpoint_state *endpoint;

	if (!upstream->waits_since_ns)
		upstream->waits_since_ns = now;
	if (now - upstream->waits_since_ns < SERVER_SETTLES_NS && !servers_block(endpoint_id)) {
		upstream_return(upstream, word);
		return;
	}
	endpoint = weft_endpoint_state(endpoint_id);
	if (endpoint)
		endpoint->servers_block_s = (u32)(now / 1000000000) ?: 1;
	count(WEFT_COUNTER_SERVERS_BLOCKING, 1);
	upstream->is_dead = 1;
	upstream_return(upstream, word);
	event_send(WEFT_EVENT_UPSTREAM_DEAD, slot, cookie, pod_id, endpoint_id);
}

#endif
