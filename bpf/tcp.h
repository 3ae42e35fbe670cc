/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only */
/* Connections to listeners that serve nothing but TCP: connect() is sent to one of the cluster's endpoints, and no byte of the connection
 * costs anything. The application sees the address that it asked for (getpeername), the endpoint counts the connection until its client
 * closes it. */
#ifndef WEFT_BPF_TCP_H
#define WEFT_BPF_TCP_H

#include "kernel.h"
#include "maps.h"
#include "weft/balance.h"
#include "weft/lookup.h"

/* Picks for a connection to `listener` of the image; anything but 0: the proxy, which knows more or says why not. */
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
	return weft_pick_endpoint(&query, endpoint);
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
