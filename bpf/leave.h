/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only */
/* Leaving the sockmap. The sockmap's reader answers a wake-up for nothing with EAGAIN, also on a blocking socket, where TCP's own sleeps
 * again. Most often two things wake a socket for nothing: an acknowledgement, when a sender had to wait for its send buffer before (SOCK_NOSPACE can
 * outlast the wait), and the acknowledgement of a FIN, when it has shut down its sending half. So a client leaves its map before that:
 * - at the first acknowledgement that finds a sender waiting, which comes before the space that it waits for;
 * - when it shuts down, before the FIN is sent.
 * The kernel lets a write that is under way end with the programs it began with; every later call is TCP's own. A thread that sleeps in
 * a read all the while is not helped.
 *
 * Nothing may be on its way to the socket then, now or ever: what waits in its psock would be lost. All this runs with the socket's lock,
 * as its message program does. */
#ifndef WEFT_BPF_LEAVE_H
#define WEFT_BPF_LEAVE_H

#include "delivered.h"
#include "drained.h"
#include "exchange.h"
#include "maps.h"

#define SOCK_NOSPACE_BIT (1ul << 2)

static __always_inline bool sender_waits(u64 address)
{
	struct sock *sk = KERNEL_OBJECT(struct sock, address);
	u64 place = (u64)KERNEL_READ(sk, sk_socket);
	struct socket *socket = KERNEL_OBJECT(struct socket, place);

	return place && KERNEL_READ(socket, flags) & SOCK_NOSPACE_BIT;
}

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

/* An acknowledgement has come. */
static __always_inline void client_acknowledged(struct bpf_sock_ops *ctx, struct weft_socket *socket, u64 address)
{
	if (sender_waits(address) && client_leave(socket->cookie, receive_references(address)))
		bpf_sock_ops_cb_flags_set(ctx, BPF_SOCK_OPS_STATE_CB_FLAG);
}

#endif
