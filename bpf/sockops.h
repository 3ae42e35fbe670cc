/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only */
/* sock_ops: sockets enter the datapath when they are established and leave it when they are not. Attached to the pods' cgroups
 * (clients, servers) and to the worker's own (upstreams). */
#ifndef WEFT_BPF_SOCKOPS_H
#define WEFT_BPF_SOCKOPS_H

#include "blocking.h"
#include "kernel.h"
#include "leave.h"
#include "maps.h"
#include "quota.h"
#include "tcp.h"

#define CLIENT_RECEIVE_BUFFER (2 * WEFT_REDIRECT_LIMIT_DEFAULT)

/* bpf_sock_ops holds the remote port in the upper half, in network order; the local one in host order. */
static __always_inline u16 remote_port_be(struct bpf_sock_ops *ctx)
{
	return (u16)(ctx->remote_port >> 16);
}
static __always_inline u16 local_port_be(struct bpf_sock_ops *ctx)
{
	return bpf_htons((u16)ctx->local_port);
}

/* A field of the context: read where it is written, since the verifier knows no address that was computed before. */
#define CONTEXT(field) (*(const volatile u32 *)&ctx->field)

/* By the connection's addresses, not its socket's family: an IPv6 socket has mapped ones for IPv4, as they are written here. */
#define CONTEXT_ADDRESS(side)                                                                                  \
	({                                                                                                     \
		u32 ip4_be_ = CONTEXT(side##_ip4), first_ = CONTEXT(side##_ip6[0]);                            \
		u32 second_ = CONTEXT(side##_ip6[1]), third_ = CONTEXT(side##_ip6[2]);                         \
		u32 last_ = CONTEXT(side##_ip6[3]);                                                            \
		struct weft_address address_ = WEFT_IP4(ip4_be_);                                              \
		if (ctx->family == AF_INET6)                                                                   \
			address_ = (struct weft_address){{first_, second_, third_, last_}};                    \
		address_;                                                                                      \
	})

static __always_inline struct weft_address local_address(struct bpf_sock_ops *ctx)
{
	return CONTEXT_ADDRESS(local);
}
static __always_inline struct weft_address remote_address(struct bpf_sock_ops *ctx)
{
	return CONTEXT_ADDRESS(remote);
}

static __always_inline void port_key_fill(struct bpf_sock_ops *ctx, u64 netns, struct weft_port_key *key)
{
	__builtin_memset(key, 0, sizeof(*key));
	key->netns_cookie = netns;
	key->address = local_address(ctx);
	key->port_be = local_port_be(ctx);
}

/* A socket that was disconnected is in the map still, with what was redirected to it and not read: TCP throws away what came by TCP, and with the place in
 * the map the rest goes. */
static __always_inline void former_bytes_drop(u64 address, u64 cookie)
{
	struct sock *sk = KERNEL_OBJECT(struct sock, address);

	if ((u64)KERNEL_READ(sk, sk_user_data) & PSOCK_BIT)
		bpf_map_delete_elem(&client_sockets, &cookie);
}

static __always_inline void client_established(struct bpf_sock_ops *ctx, struct weft_socket *socket, struct tcp_sock *tp)
{
	struct weft_connection *connection;
	struct weft_port_key key;
	struct weft_control *settings = control_get();
	int receive_buffer_bytes = CLIENT_RECEIVE_BUFFER;
	u64 cookie = socket->cookie;
	int r;

	connection = bpf_map_lookup_elem(&connections, &cookie);
	if (!connection || !settings)
		return;
	connection->sock = (u64)tp;
	connection->write_base = tp->write_seq;
	connection->read_base = tp->rcv_nxt;
	connection->received_seq = tp->rcv_nxt;
	connection->local_port_be = local_port_be(ctx);
	/* Bytes that went out with the SYN are on the TCP leg already: the proxy's, and the connection with them. */
	if (tp->data_segs_out || tp->write_seq != tp->snd_una)
		connection->flags |= WEFT_CONNECTION_PROXY_ONLY;
	connection->established_ns = bpf_ktime_get_ns();

	port_key_fill(ctx, connection->netns_cookie, &key);
	bpf_map_update_elem(&connection_ports, &key, &cookie, BPF_ANY);
	count(WEFT_COUNTER_CONNECTIONS, 1);

	if (settings->fast_path == WEFT_FAST_PATH_OFF || connection->flags & WEFT_CONNECTION_PROXY_ONLY)
		return;
	if (how_it_reads((u64)tp) == READS_WAIT) {
		connection->flags |= WEFT_CONNECTION_PROXY_ONLY;
		connection->last_reason = WEFT_REASON_BLOCKING_CLIENT;
		count(WEFT_COUNTER_CLIENTS_BLOCKING, 1);
		return;
	}
	/* Room for a whole response; the kernel doubles it, and caps it at net.core.rmem_max. Less only means more relayed responses. */
	bpf_setsockopt(ctx, SOL_SOCKET, SO_RCVBUF, &receive_buffer_bytes, sizeof(receive_buffer_bytes));
	r = bpf_sock_hash_update(ctx, &client_sockets, &cookie, BPF_NOEXIST);
	/* EBUSY: it has programs already, as one that is connected anew while another of its threads still reads. */
	if (r && r != -EBUSY)
		count(WEFT_COUNTER_CONNECTIONS_FULL, 1);
	else
		bpf_sock_ops_cb_flags_set(ctx, BPF_SOCK_OPS_STATE_CB_FLAG | BPF_SOCK_OPS_RTT_CB_FLAG);
}

/* A socket may be connected anew, with the cookie that it has: what is left of a response must find nobody. */
static __always_inline void response_abandon(u64 exchange, u64 cookie)
{
	u32 slot = WEFT_EXCHANGE_SLOT(exchange);
	struct weft_upstream *upstream = exchange ? bpf_map_lookup_elem(&upstreams, &slot) : NULL;

	if (!upstream || upstream->client_cookie != cookie)
		return;
#ifndef WEFT_WITHOUT_ABANDONED
	u64 word = upstream->state;

	if (word == WEFT_STATE_WORD(WEFT_EXCHANGE_LEASE(exchange), WEFT_UPSTREAM_REPLYING))
		response_pass(upstream, slot, word, WEFT_REASON_RESPONSE_LOOKUP_MISS);
#endif
}

static __always_inline void client_closed(struct bpf_sock_ops *ctx, struct weft_socket *socket)
{
	struct weft_connection *connection;
	struct weft_port_key key;
	u64 cookie = socket->cookie, exchange, *owner;

	connection = bpf_map_lookup_elem(&connections, &cookie);
	if (!connection)
		return;
	port_key_fill(ctx, connection->netns_cookie, &key);
	key.port_be = connection->local_port_be;
	owner = bpf_map_lookup_elem(&connection_ports, &key);
	if (owner && *owner == cookie)
		bpf_map_delete_elem(&connection_ports, &key);
	if (connection->established_ns)
		count(WEFT_COUNTER_CONNECTIONS_OVER, 1);
	exchange = connection->exchange;
	/* First: who looks for the client of a response that is the worker's finds none, and closes the upstream. */
	connection_delete(cookie, socket->pod_id);
	response_abandon(exchange, cookie);
}

static __always_inline void upstream_established(struct bpf_sock_ops *ctx, struct weft_socket *socket, struct tcp_sock *tp)
{
	struct weft_dialled dialled_to = {};
	struct weft_upstream *upstream;
	struct weft_tuple tuple = {};
	u64 cookie = bpf_get_socket_cookie(ctx);
	u32 slot = socket->slot;

	upstream = bpf_map_lookup_elem(&upstreams, &slot);
	if (!upstream || upstream->cookie != cookie)
		return;
	socket->cookie = cookie;
	upstream->sock = (u64)tp;
	upstream->received_seq = tp->rcv_nxt;
	if (bpf_map_update_elem(&upstream_slots, &cookie, &slot, BPF_ANY))
		return;

	tuple.source = local_address(ctx);
	tuple.source_port_be = local_port_be(ctx);
	tuple.destination = remote_address(ctx);
	tuple.destination_port_be = remote_port_be(ctx);
	dialled_to.upstream_cookie = cookie;
	dialled_to.slot = slot;
	bpf_map_update_elem(&dialled, &tuple, &dialled_to, BPF_ANY);
}

/* A slot whose socket, or whose server's, has left ESTABLISHED must not be lent again: the application's write would give it
 * ECONNRESET and SIGPIPE. This runs in softirq, before anybody can borrow it. */
static __always_inline void slot_died(u32 slot, u64 upstream_cookie)
{
	struct weft_upstream *upstream = bpf_map_lookup_elem(&upstreams, &slot);

	if (!upstream || upstream->cookie != upstream_cookie)
		return;
#ifndef WEFT_WITHOUT_DEAD_SLOTS
	upstream->is_dead = 1;
	u64 word = upstream->state;

	if (WEFT_STATE(word) == WEFT_UPSTREAM_IDLE)
		__sync_val_compare_and_swap(&upstream->state, word, WEFT_STATE_WORD(WEFT_LEASE(word), WEFT_UPSTREAM_DEAD));
#endif
	event_send(WEFT_EVENT_UPSTREAM_DEAD, slot, upstream_cookie, upstream->pod_id, upstream->endpoint_id);
}

static __always_inline void upstream_closed(struct bpf_sock_ops *ctx, struct weft_socket *socket)
{
	struct weft_dialled *dialled_to;
	struct weft_tuple tuple = {};
	u64 cookie = socket->cookie;

	tuple.source = local_address(ctx);
	tuple.source_port_be = local_port_be(ctx);
	tuple.destination = remote_address(ctx);
	tuple.destination_port_be = remote_port_be(ctx);
	dialled_to = bpf_map_lookup_elem(&dialled, &tuple);
	if (dialled_to && dialled_to->upstream_cookie == cookie)
		bpf_map_delete_elem(&dialled, &tuple);
	bpf_map_delete_elem(&upstream_slots, &cookie);
}

/* An accepted socket in an enrolled pod: is it the other end of one of our upstreams? Addresses alone can be forged with user
 * namespaces, so its network namespace must be that of the enrolled pod that owns the address. */
static __always_inline void server_established(struct bpf_sock_ops *ctx, struct bpf_sock *sk, struct tcp_sock *tp)
{
	struct weft_control *settings = control_get();
	struct weft_dialled *dialled_to;
	struct weft_upstream *upstream;
	struct weft_socket *socket;
	struct weft_tuple tuple = {};
	struct weft_pod *pod;
	u64 cookie, netns;
	u32 slot;

	if (!settings || settings->fast_path != WEFT_FAST_PATH_ON)
		return;
	tuple.source = remote_address(ctx);
	tuple.source_port_be = remote_port_be(ctx);
	tuple.destination = local_address(ctx);
	tuple.destination_port_be = local_port_be(ctx);
	dialled_to = bpf_map_lookup_elem(&dialled, &tuple);
	if (!dialled_to)
		return;

	netns = bpf_get_netns_cookie(ctx);
	pod = bpf_map_lookup_elem(&pods, &netns);
#ifndef WEFT_WITHOUT_NETNS_CHECK
	if (!pod || (!weft_address_equals(&pod->addresses[WEFT_FAMILY_4], &tuple.destination) &&
		     !weft_address_equals(&pod->addresses[WEFT_FAMILY_6], &tuple.destination))) {
		count(WEFT_COUNTER_FORGED_SERVERS, 1);
		return;
	}
#endif
	slot = dialled_to->slot;
	upstream = bpf_map_lookup_elem(&upstreams, &slot);
	if (!upstream || upstream->cookie != dialled_to->upstream_cookie || servers_block(upstream->endpoint_id))
		return;
	socket = bpf_sk_storage_get(&sockets, sk, NULL, BPF_SK_STORAGE_GET_F_CREATE);
	if (!socket)
		return;
	cookie = bpf_get_socket_cookie(ctx);
	socket->cookie = cookie;
	socket->role = WEFT_ROLE_SERVER;
	socket->pod_id = pod ? pod->pod_id : 0;
	socket->slot = slot;
	socket->upstream_cookie = upstream->cookie;
	if (bpf_sock_hash_update(ctx, &server_sockets, &cookie, BPF_NOEXIST))
		return;
	bpf_sock_ops_cb_flags_set(ctx, BPF_SOCK_OPS_STATE_CB_FLAG);
	upstream->server_sock = (u64)tp;
	/* Exchange: the address must be there for whoever sees the cookie. */
	__sync_lock_test_and_set(&upstream->server_cookie, cookie);
	count(WEFT_COUNTER_SERVERS, 1);
}

static __always_inline void state_changed(struct bpf_sock_ops *ctx, struct bpf_sock *sk)
{
	u32 state = ctx->args[1];
	struct weft_socket *socket;
	struct tcp_sock *tp;

	socket = bpf_sk_storage_get(&sockets, sk, NULL, 0);
	if (!socket)
		return;
	switch (socket->role) {
	case WEFT_ROLE_CLIENT:
		tp = bpf_skc_to_tcp_sock(sk);
		if (state == TCP_FIN_WAIT1_STATE && tp && !(how_it_reads((u64)tp) == READS_WAIT && somebody_waits((u64)tp)))
			client_leave(socket->cookie, 0); /* on close() it has left already */
		else if (state == TCP_CLOSE_STATE)
			client_closed(ctx, socket);
		break;
	case WEFT_ROLE_TCP:
		tcp_state_changed(socket, state);
		tp = bpf_skc_to_tcp_sock(sk);
		if (tp && state == TCP_CLOSE_STATE && socket->is_open)
			tcp_closed(socket, tp);
		break;
	case WEFT_ROLE_UPSTREAM:
		if (state != TCP_ESTABLISHED_STATE && socket->cookie)
			slot_died(socket->slot, socket->cookie);
		if (state == TCP_CLOSE_STATE && socket->cookie)
			upstream_closed(ctx, socket);
		break;
	case WEFT_ROLE_SERVER:
		if (state != TCP_ESTABLISHED_STATE)
			slot_died(socket->slot, socket->upstream_cookie);
		break;
	}
}

SEC("sockops")
int weft_sockops(struct bpf_sock_ops *ctx)
{
	struct weft_socket *socket;
	struct bpf_sock *sk = ctx->sk;
	struct tcp_sock *tp;

	if ((ctx->family != AF_INET && ctx->family != AF_INET6) || !sk)
		return 1;
	switch (ctx->op) {
	case BPF_SOCK_OPS_TCP_CONNECT_CB:
		/* From here on, so that a connect that fails leaves no record behind. */
		socket = bpf_sk_storage_get(&sockets, sk, NULL, 0);
		if (!socket)
			break;
		bpf_sock_ops_cb_flags_set(ctx, BPF_SOCK_OPS_STATE_CB_FLAG);
		if (socket->role == WEFT_ROLE_TCP)
			tcp_connecting(socket);
		break;
	case BPF_SOCK_OPS_ACTIVE_ESTABLISHED_CB:
		socket = bpf_sk_storage_get(&sockets, sk, NULL, 0);
		if (!socket)
			break;
		tp = bpf_skc_to_tcp_sock(sk);
		if (!tp)
			break;
		if (socket->role != WEFT_ROLE_UPSTREAM)
			former_bytes_drop((u64)tp, socket->cookie);
		if (socket->role == WEFT_ROLE_CLIENT)
			client_established(ctx, socket, tp);
		else if (socket->role == WEFT_ROLE_UPSTREAM)
			upstream_established(ctx, socket, tp);
		else if (socket->role == WEFT_ROLE_TCP)
			tcp_established(socket);
		break;
	case BPF_SOCK_OPS_PASSIVE_ESTABLISHED_CB:
		tp = bpf_skc_to_tcp_sock(sk);
		if (tp)
			server_established(ctx, sk, tp);
		break;
	case BPF_SOCK_OPS_RTT_CB:
		socket = bpf_sk_storage_get(&sockets, sk, NULL, 0);
		tp = bpf_skc_to_tcp_sock(sk);
		if (socket && tp && socket->role == WEFT_ROLE_CLIENT)
			client_acknowledged(ctx, socket, (u64)tp);
		break;
	case BPF_SOCK_OPS_STATE_CB:
		state_changed(ctx, sk);
		break;
	}
	return 1;
}

#endif
