/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only */
/* Connections to listeners that serve nothing but TCP: connect() is sent to one of the cluster's endpoints, and no byte of the connection
 * costs anything. The application sees the address that it asked for (getpeername), the endpoint counts the connection until its client
 * closes it. */
#ifndef WEFT_BPF_TCP_H
#define WEFT_BPF_TCP_H

#include "kernel.h"
#include "maps.h"
#include "traffic.h"
#include "weft/balance.h"
#include "weft/lookup.h"

/* Picks for a connection to `listener` of the image: the cluster's id, which is never 0, or else the proxy, which knows more or says why not. */
WEFT_STAGE int tcp_pick(const struct weft_image_handle *image, u32 endpoint_slot, weft_ref listener_ref, u64 source_hash, struct weft_endpoint *endpoint)
{
	const struct weft_listener *listener;
	struct weft_balance_query query = {};
	struct weft_cursor cursor = {};
	int r;

	if (!image || !endpoint)
		return -EINVAL;
	listener = WEFT_OBJECT(weft_listener, image, &cursor, listener_ref);
	if (!listener)
		return -ENODATA;
	if (listener->flags & WEFT_LISTENER_HASH_SOURCE_IP)
		query.hash_state = WEFT_HASH_READY;
	query.hash = source_hash;
	query.random = bpf_get_prandom_u32();
	r = weft_choose_cluster(image, &cursor, listener->tcp_choice, bpf_get_prandom_u32(), &query.cluster_id, NULL, NULL, NULL);
	if (r)
		return r;
	query.image.slot = endpoint_slot;
	return weft_pick_endpoint(&query, endpoint) ? -EHOSTUNREACH : query.cluster_id;
}

static __always_inline struct weft_traffic *tcp_traffic(const struct weft_socket *socket)
{
	struct weft_traffic_key key = {.flag = WEFT_FLAG_TCP};

	key.pod_id = socket->pod_id;
	key.endpoint_id = socket->endpoint_id;
	key.cluster_id = socket->cluster_id;
	return traffic_find(&key);
}

static __always_inline void tcp_established(struct weft_socket *socket)
{
	struct weft_traffic *record = tcp_traffic(socket);

	socket->is_open = 1;
	if (record)
		__sync_fetch_and_add(&record->opened, 1);
}

/* The socket of the client is closed: what it sent, but not again, and what came, without the FIN that TCP numbers as a byte. */
static __always_inline void tcp_closed(struct weft_socket *socket, struct tcp_sock *tp)
{
	struct weft_traffic *record = tcp_traffic(socket);
	u64 sent, received;

	socket->is_open = 0;
	if (!record)
		return;
	sent = tp->bytes_sent - tp->bytes_retrans;
	received = tp->bytes_received;
	if (received && ((struct sock *)tp)->__sk_common.skc_flags & SOCK_DONE_FLAG)
		received--;
	__sync_fetch_and_add(&record->request_bytes, sent);
	__sync_fetch_and_add(&record->response_bytes, received);
	__sync_fetch_and_add(&record->closed, 1);
}

/* Just before the SYN: a connect() that failed earlier is not counted. */
static __always_inline void tcp_connecting(struct weft_socket *socket)
{
	struct weft_endpoint_state *state;
	u32 id = socket->endpoint_id;

	if (socket->is_counted)
		return;
	state = bpf_map_lookup_elem(&endpoint_state, &id);
	if (!state)
		return;
	__sync_fetch_and_add(&state->active, 1);
	socket->is_counted = 1;
}

/* The client's side is over; what its server still sends is no load to compare. Earlier than the end of the socket, which may come when
 * its pod has left the mesh. */
static __always_inline void tcp_state_changed(struct weft_socket *socket, u32 state)
{
	struct weft_endpoint_state *endpoint;
	u32 id = socket->endpoint_id, i, active;

	if (!socket->is_counted || state == TCP_SYN_SENT_STATE || state == TCP_ESTABLISHED_STATE || state == TCP_CLOSE_WAIT_STATE)
		return;
	socket->is_counted = 0;
	endpoint = bpf_map_lookup_elem(&endpoint_state, &id);
	/* Never below none: the endpoint's id may have become another's. */
	for (i = 0; endpoint && i < 8; i++) {
		active = *(volatile u32 *)&endpoint->active;
		if (!active || __sync_val_compare_and_swap(&endpoint->active, active, active - 1) == active)
			break;
	}
}

#endif
