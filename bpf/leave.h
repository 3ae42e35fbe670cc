/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only */
/* Leaving the sockmap, of a client that has begun to sleep in its reads (bpf/blocking.h): at the first acknowledgement that finds it so, and of any
 * when it shuts down its sending half, before the FIN is sent, whose acknowledgement would wake it for nothing. The kernel lets a write that is
 * under way end with the programs it began with; every later call is TCP's own. Not while it sleeps.
 *
 * Nothing may be on its way to the socket then, now or ever: what waits in its psock would be lost. All this runs with the socket's lock,
 * as its message program does. */
#ifndef WEFT_BPF_LEAVE_H
#define WEFT_BPF_LEAVE_H

#include "blocking.h"
#include "delivered.h"
#include "drained.h"
#include "exchange.h"
#include "maps.h"

/* The receive path holds the socket that it found; a packet that waited for the lock's owner (the backlog) holds nothing. */
static __always_inline u32 receive_references(u64 address)
{
	struct sock *sk = KERNEL_OBJECT(struct sock, address);

	return !KERNEL_READ(sk, sk_lock.owned);
}

/* From here on the connection is the proxy's for good, so nothing is redirected to it any more. A write that was split needs the map
 * until its end. */
static __always_inline bool client_leave(u64 cookie, u32 references)
{
	struct weft_connection *connection = bpf_map_lookup_elem(&connections, &cookie);
	struct socket_queues queues;

	if (!connection || connection->exchange || connection->flags & WEFT_CONNECTION_SPLIT ||
	    !delivery_is_proven(connection, cookie, true, references))
		return false;
	socket_queues_read(connection->sock, cookie, QUEUES_ARRIVED, &queues);
	if (!queues_are_drained(&queues))
		return false;
	__sync_fetch_and_or(&connection->flags, WEFT_CONNECTION_PROXY_ONLY);
	if (!bpf_map_delete_elem(&client_sockets, &cookie))
		count(WEFT_COUNTER_CLIENTS_LEFT, 1);
	return true;
}

/* Who sleeps in a read would be woken by what TCP brings then, and the sockmap's reader, in which he sleeps, knows nothing of it. True of a
 * socket that is polled, too. */
static __always_inline bool somebody_waits(u64 address)
{
	struct sock *sk = KERNEL_OBJECT(struct sock, address);
	u64 place = (u64)KERNEL_READ(sk, sk_wq);
	struct socket_wq *wq = KERNEL_OBJECT(struct socket_wq, place);
	u64 head = place + __builtin_preserve_field_info(wq->wait.head, 0 /* BPF_FIELD_BYTE_OFFSET */);

	return place && (u64)KERNEL_READ(wq, wait.head.next) != head;
}

/* An acknowledgement has come. */
static __always_inline void client_acknowledged(struct bpf_sock_ops *ctx, struct weft_socket *socket, u64 address)
{
	if (how_it_reads(address) == READS_WAIT && !somebody_waits(address) && client_leave(socket->cookie, receive_references(address)))
		bpf_sock_ops_cb_flags_set(ctx, BPF_SOCK_OPS_STATE_CB_FLAG);
}

#endif
