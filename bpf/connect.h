/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only */
/* connect4, getpeername4, getsockname4, sock_release: which connections the mesh takes, and what the application sees of it (nothing). */
#ifndef WEFT_BPF_CONNECT_H
#define WEFT_BPF_CONNECT_H

#include "kernel.h"
#include "maps.h"
#include "quota.h"
#include "tcp.h"
#include "weft/lookup.h"

#define LOOPBACK_BE bpf_htonl(0x7f000001)

/* Addresses that are never meshed: loopback, link-local, multicast and above, "this host", the pod itself. */
static __always_inline bool is_own_address(u32 ip4_be, const struct weft_pod *pod)
{
	u32 ip4 = bpf_ntohl(ip4_be);

	return ip4 >> 24 == 127 || ip4 >> 16 == 0xa9fe || ip4 >> 28 >= 0xe || !ip4 || ip4_be == pod->ip4_be;
}

/* Is the worker there? Its listener on the pod's loopback is the answer: without one the connection stays unmeshed. */
static __always_inline bool worker_listens(struct bpf_sock_addr *ctx, u16 port_be)
{
	struct bpf_sock_tuple tuple = {};
	struct bpf_sock *sk;
	bool listens;

	tuple.ipv4.daddr = LOOPBACK_BE;
	tuple.ipv4.dport = port_be;
	sk = bpf_skc_lookup_tcp(ctx, &tuple, sizeof(tuple.ipv4), BPF_F_CURRENT_NETNS, 0);
	if (!sk)
		return false;
	listens = sk->state == TCP_LISTEN_STATE;
	bpf_sk_release(sk);
	return listens;
}

/* A socket may be connected anew, after a failure or a disconnect: what was true of its last connection must not be said of this one. */
static __always_inline void connection_forget(struct bpf_sock *sk)
{
	struct weft_socket *socket = bpf_sk_storage_get(&sockets, sk, NULL, 0);
	u64 cookie;

	if (!socket || (socket->role != WEFT_ROLE_CLIENT && socket->role != WEFT_ROLE_TCP))
		return;
	cookie = socket->cookie;
	socket->role = 0;
	connection_delete(cookie, socket->pod_id);
}

/* By itself for the sake of the stack, which what picks an endpoint needs. */
static __noinline int connection_record(struct bpf_sock_addr *ctx, const struct weft_pod *pod, u64 cookie, u64 netns)
{
	struct weft_connection connection = {
		.netns_cookie = netns,
		.pod_id = pod->pod_id,
		.scope = pod->scope,
		.original_ip4_be = ctx->user_ip4,
		.original_port_be = ctx->user_port,
		.captured_ns = bpf_ktime_get_ns(),
	};

	return bpf_map_update_elem(&connections, &cookie, &connection, BPF_ANY);
}

/* What the application sees of the socket: the peer that it asked for. */
static __always_inline struct weft_socket *socket_begin(struct bpf_sock_addr *ctx, struct bpf_sock *sk, enum weft_role role, const struct weft_pod *pod)
{
	struct weft_socket *socket = bpf_sk_storage_get(&sockets, sk, NULL, BPF_SK_STORAGE_GET_F_CREATE);

	if (!socket)
		return NULL;
	socket->cookie = bpf_get_socket_cookie(ctx);
	socket->role = role;
	socket->pod_id = pod->pod_id;
	socket->original_ip4_be = ctx->user_ip4;
	socket->original_port_be = ctx->user_port;
	socket->pod_ip4_be = pod->ip4_be;
	return socket;
}

/* False: there is no endpoint, or nothing to remember it by. */
static __always_inline bool connect_endpoint(struct bpf_sock_addr *ctx, struct bpf_sock *sk, const struct weft_endpoint *endpoint, u32 cluster_id,
					     const struct weft_pod *pod)
{
	struct weft_socket *socket = socket_begin(ctx, sk, WEFT_ROLE_TCP, pod);

	if (!socket)
		return false;
	socket->endpoint_id = endpoint->id;
	socket->cluster_id = cluster_id;
	socket->is_open = 0;
	socket->is_counted = 0;
	ctx->user_ip4 = endpoint->ip4_be;
	ctx->user_port = endpoint->port_be;
	count(WEFT_COUNTER_TCP_CONNECTS, 1);
	return true;
}

static __always_inline int passed(u32 counter)
{
	count(counter, 1);
	return 1;
}

SEC("cgroup/connect4")
int weft_connect4(struct bpf_sock_addr *ctx)
{
	struct weft_image_handle image;
	struct weft_endpoint endpoint = {};
	struct weft_control *settings;
	struct weft_scope_state *scope;
	const struct weft_listener *listener;
	struct weft_pod *pod;
	weft_ref listener_ref = 0;
	u32 ip4_be = ctx->user_ip4, scope_id;
	u16 port_be = ctx->user_port;
	struct bpf_sock *sk = ctx->sk;
	u64 netns, cookie;
	int cluster_id;

	if (ctx->type != SOCK_STREAM || ctx->protocol != IPPROTO_TCP || !sk)
		return 1;
	connection_forget(sk);

	/* A process of the pod's cgroup may have entered another network namespace: then it is not the pod that speaks. */
	netns = bpf_get_netns_cookie(ctx);
	pod = bpf_map_lookup_elem(&pods, &netns);
	if (!pod)
		return passed(WEFT_COUNTER_FOREIGN_NETNS);
	if (pod->flags & WEFT_POD_PAUSED || is_own_address(ip4_be, pod))
		return passed(WEFT_COUNTER_PASSED_CONNECTS);
	/* Bound to a device it can't reach the loopback. */
	if (sk->bound_dev_if)
		return passed(WEFT_COUNTER_PASSED_CONNECTS);

	scope_id = pod->scope;
	scope = bpf_map_lookup_elem(&scopes, &scope_id);
	if (!scope || !scope->route_generation)
		return passed(WEFT_COUNTER_PASSED_CONNECTS);
	image.slot = scope->route_slot;
	if (weft_find_listener(&image, ip4_be, port_be, &listener_ref))
		return passed(WEFT_COUNTER_PASSED_CONNECTS);
	listener = weft_at(&image, listener_ref);
	if (!listener || listener->kind == WEFT_LISTENER_PASS)
		return passed(WEFT_COUNTER_PASSED_CONNECTS);
	if (listener->kind == WEFT_LISTENER_BLOCK) {
		count(WEFT_COUNTER_BLOCKED_CONNECTS, 1);
		bpf_set_retval(-ECONNREFUSED);
		return 0;
	}
	if (!worker_listens(ctx, pod->listener_port_be))
		return passed(WEFT_COUNTER_PASSED_CONNECTS);
	settings = control_get();
	if (listener->kind == WEFT_LISTENER_TCP && listener->flags & WEFT_LISTENER_KERNEL && settings && settings->fast_path != WEFT_FAST_PATH_OFF &&
	    (cluster_id = tcp_pick(&image, scope->endpoint_slot, listener_ref, pod->source_hash, &endpoint)) > 0 &&
	    connect_endpoint(ctx, sk, &endpoint, (u32)cluster_id, pod))
		return 1;

	/* The record first: a captured connection that the worker could not place would be an error that the mesh invented. */
	cookie = bpf_get_socket_cookie(ctx);
	if (!connection_take(pod->pod_id))
		return passed(WEFT_COUNTER_CONNECTIONS_QUOTA);
	if (connection_record(ctx, pod, cookie, netns)) {
		connection_give(pod->pod_id);
		return passed(WEFT_COUNTER_CONNECTIONS_FULL);
	}
	if (!socket_begin(ctx, sk, WEFT_ROLE_CLIENT, pod)) {
		connection_delete(cookie, pod->pod_id);
		return passed(WEFT_COUNTER_CONNECTIONS_FULL);
	}
	ctx->user_ip4 = LOOPBACK_BE;
	ctx->user_port = pod->listener_port_be;
	return 1;
}

/* A connect() that failed before it sent a SYN (no local port, no memory) is no state that sock_ops would hear of: its record goes when the
 * socket is closed. One that was established is client_closed()'s, later. */
SEC("cgroup/sock_release")
int weft_release(struct bpf_sock *ctx)
{
	struct weft_socket *socket = bpf_sk_storage_get(&sockets, ctx, NULL, 0);
	struct weft_connection *connection;
	u64 cookie;

	if (!socket || socket->role != WEFT_ROLE_CLIENT)
		return 1;
	cookie = socket->cookie;
	connection = bpf_map_lookup_elem(&connections, &cookie);
	if (connection && !connection->established_ns)
		connection_delete(cookie, socket->pod_id);
	return 1;
}

SEC("cgroup/getpeername4")
int weft_getpeername4(struct bpf_sock_addr *ctx)
{
	struct bpf_sock *sk = ctx->sk;
	struct weft_socket *socket;

	if (!sk)
		return 1;
	socket = bpf_sk_storage_get(&sockets, sk, NULL, 0);
	if (socket && (socket->role == WEFT_ROLE_CLIENT || socket->role == WEFT_ROLE_TCP)) {
		ctx->user_ip4 = socket->original_ip4_be;
		ctx->user_port = socket->original_port_be;
	}
	return 1;
}

SEC("cgroup/getsockname4")
int weft_getsockname4(struct bpf_sock_addr *ctx)
{
	struct bpf_sock *sk = ctx->sk;
	struct weft_socket *socket;

	if (!sk)
		return 1;
	socket = bpf_sk_storage_get(&sockets, sk, NULL, 0);
	if (socket && socket->role == WEFT_ROLE_CLIENT && ctx->user_ip4 == LOOPBACK_BE)
		ctx->user_ip4 = socket->pod_ip4_be;
	return 1;
}

#endif
