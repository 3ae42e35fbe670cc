/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only */
/* connect, getpeername, getsockname of both families, sock_release: which connections the mesh takes, and what the application sees of it (nothing).
 * An IPv6 socket that asks for a mapped IPv4 address asks for that IPv4 address. */
#ifndef WEFT_BPF_CONNECT_H
#define WEFT_BPF_CONNECT_H

#include "kernel.h"
#include "maps.h"
#include "quota.h"
#include "tcp.h"
#include "weft/lookup.h"

#define LOOPBACK4_BE bpf_htonl(0x7f000001)
#define LOOPBACK6_LAST_BE bpf_htonl(1)

/* The socket's own family, AF_INET or AF_INET6, is a constant at every call: a program may only touch what its hook has. */
static __always_inline struct weft_address address_asked(const struct bpf_sock_addr *ctx, u32 family)
{
	struct weft_address address = WEFT_IP4(0);

	if (family == AF_INET) {
		address.be[3] = ctx->user_ip4;
	} else {
		address.be[0] = ctx->user_ip6[0];
		address.be[1] = ctx->user_ip6[1];
		address.be[2] = ctx->user_ip6[2];
		address.be[3] = ctx->user_ip6[3];
	}
	return address;
}

static __always_inline void address_answer(struct bpf_sock_addr *ctx, u32 family, const struct weft_address *address)
{
	if (family == AF_INET) {
		ctx->user_ip4 = address->be[3];
	} else {
		ctx->user_ip6[0] = address->be[0];
		ctx->user_ip6[1] = address->be[1];
		ctx->user_ip6[2] = address->be[2];
		ctx->user_ip6[3] = address->be[3];
	}
}

static __always_inline struct weft_address loopback(enum weft_family family)
{
	struct weft_address address = weft_address_any(family);

	address.be[3] = family == WEFT_FAMILY_4 ? LOOPBACK4_BE : LOOPBACK6_LAST_BE;
	return address;
}

/* Addresses that are never meshed: loopback, link-local, multicast and above, "this host", the pod itself. */
static __always_inline bool is_own_address(const struct weft_address *address, const struct weft_address *pod)
{
	u32 ip4 = bpf_ntohl(address->be[3]), first = bpf_ntohl(address->be[0]);

	if (weft_address_equals(address, pod))
		return true;
	if (weft_address_is_ip4(address))
		return ip4 >> 24 == 127 || ip4 >> 16 == 0xa9fe || ip4 >> 28 >= 0xe || !ip4;
	if (!address->be[0] && !address->be[1] && !address->be[2])
		return true; /* ::, ::1, and what was IPv4-compatible once */
	return first >> 22 == 0xfe80 >> 6 || first >> 24 == 0xff;
}

/* Is the worker there? Its listener on the pod's loopback is the answer: without one the connection stays unmeshed. By itself for the sake of the
 * stack, which what picks an endpoint needs (6.1 sums it up over all that are called). */
static __noinline bool worker_listens(struct bpf_sock_addr *ctx, enum weft_family family, u16 port_be)
{
	struct bpf_sock_tuple tuple = {};
	struct bpf_sock *sk;
	bool listens;

	if (family == WEFT_FAMILY_4) {
		tuple.ipv4.daddr = LOOPBACK4_BE;
		tuple.ipv4.dport = port_be;
		sk = bpf_skc_lookup_tcp(ctx, &tuple, sizeof(tuple.ipv4), BPF_F_CURRENT_NETNS, 0);
	} else {
		tuple.ipv6.daddr[3] = LOOPBACK6_LAST_BE;
		tuple.ipv6.dport = port_be;
		sk = bpf_skc_lookup_tcp(ctx, &tuple, sizeof(tuple.ipv6), BPF_F_CURRENT_NETNS, 0);
	}
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

/* By itself likewise. */
static __noinline int connection_record(struct bpf_sock_addr *ctx, const struct weft_pod *pod, const struct weft_address *address, u64 cookie)
{
	struct weft_connection connection = {
		.netns_cookie = bpf_get_netns_cookie(ctx),
		.pod_id = pod->pod_id,
		.scope = pod->scope,
		.original = *address,
		.original_port_be = ctx->user_port,
		.captured_ns = bpf_ktime_get_ns(),
	};

	return bpf_map_update_elem(&connections, &cookie, &connection, BPF_ANY);
}

/* What the application sees of the socket: the peer that it asked for. */
static __always_inline struct weft_socket *socket_begin(struct bpf_sock_addr *ctx, struct bpf_sock *sk, enum weft_role role, const struct weft_pod *pod,
							const struct weft_address *address)
{
	struct weft_socket *socket = bpf_sk_storage_get(&sockets, sk, NULL, BPF_SK_STORAGE_GET_F_CREATE);

	if (!socket)
		return NULL;
	socket->cookie = bpf_get_socket_cookie(ctx);
	socket->role = role;
	socket->pod_id = pod->pod_id;
	socket->original = *address;
	socket->original_port_be = ctx->user_port;
	if (weft_address_is_ip4(address))
		socket->pod_address = pod->addresses[WEFT_FAMILY_4];
	else
		socket->pod_address = pod->addresses[WEFT_FAMILY_6];
	return socket;
}

/* False: there is nothing to remember it by. */
static __always_inline bool connect_endpoint(struct bpf_sock_addr *ctx, u32 family, struct bpf_sock *sk, const struct weft_endpoint *endpoint,
					     u32 cluster_id, const struct weft_pod *pod, const struct weft_address *address)
{
	struct weft_socket *socket = socket_begin(ctx, sk, WEFT_ROLE_TCP, pod, address);

	if (!socket)
		return false;
	socket->endpoint_id = endpoint->id;
	socket->cluster_id = cluster_id;
	socket->is_open = 0;
	socket->is_counted = 0;
	address_answer(ctx, family, &endpoint->address);
	ctx->user_port = endpoint->port_be;
	count(WEFT_COUNTER_TCP_CONNECTS, 1);
	return true;
}

static __always_inline int passed(u32 counter)
{
	count(counter, 1);
	return 1;
}

/* Have the pod's operators excepted this destination? By itself for the sake of the stack. */
static __noinline int is_excepted(const struct weft_pod *pod, const struct weft_address *address, u32 port_be)
{
	u32 pod_id = pod->pod_id;

	return weft_is_excepted(bpf_map_lookup_elem(&exceptions, &pod_id), address, port_be);
}

/* `socket_family`: of the hook. What decides is the family of the address that is asked for. */
static __always_inline int connect_step(struct bpf_sock_addr *ctx, u32 socket_family)
{
	struct weft_image_handle image;
	struct weft_endpoint endpoint = {};
	struct weft_address address, there;
	const struct weft_address *own;
	struct weft_control *settings;
	struct weft_scope_state *scope;
	const struct weft_listener *listener;
	struct weft_pod *pod;
	weft_ref listener_ref = 0;
	enum weft_family family;
	u32 scope_id;
	u16 port_be = ctx->user_port, listener_port_be;
	struct bpf_sock *sk = ctx->sk;
	u64 netns, cookie, source_hash;
	int cluster_id;

	if (ctx->type != SOCK_STREAM || ctx->protocol != IPPROTO_TCP || !sk)
		return 1;
	connection_forget(sk);

	/* A process of the pod's cgroup may have entered another network namespace: then it is not the pod that speaks. */
	netns = bpf_get_netns_cookie(ctx);
	pod = bpf_map_lookup_elem(&pods, &netns);
	if (!pod)
		return passed(WEFT_COUNTER_FOREIGN_NETNS);
	address = address_asked(ctx, socket_family);
	if (weft_address_is_ip4(&address)) {
		family = WEFT_FAMILY_4;
		own = &pod->addresses[WEFT_FAMILY_4];
		listener_port_be = pod->listener_ports_be[WEFT_FAMILY_4];
		source_hash = pod->source_hashes[WEFT_FAMILY_4];
	} else {
		family = WEFT_FAMILY_6;
		own = &pod->addresses[WEFT_FAMILY_6];
		listener_port_be = pod->listener_ports_be[WEFT_FAMILY_6];
		source_hash = pod->source_hashes[WEFT_FAMILY_6];
	}
	if (pod->flags & WEFT_POD_PAUSED || is_own_address(&address, own))
		return passed(WEFT_COUNTER_PASSED_CONNECTS);
	if (pod->flags & WEFT_POD_EXCEPTIONS && is_excepted(pod, &address, port_be))
		return passed(WEFT_COUNTER_EXCEPTED_CONNECTS);
	/* Bound to a device it can't reach the loopback. */
	if (sk->bound_dev_if)
		return passed(WEFT_COUNTER_PASSED_CONNECTS);

	scope_id = pod->scope;
	scope = bpf_map_lookup_elem(&scopes, &scope_id);
	if (!scope || !scope->route_generation)
		return passed(WEFT_COUNTER_PASSED_CONNECTS);
	image.slot = scope->route_slot;
	if (weft_find_listener(&image, &address, port_be, &listener_ref))
		return passed(WEFT_COUNTER_PASSED_CONNECTS);
	listener = weft_at(&image, listener_ref);
	if (!listener || listener->kind == WEFT_LISTENER_PASS)
		return passed(WEFT_COUNTER_PASSED_CONNECTS);
	if (listener->kind == WEFT_LISTENER_BLOCK) {
		count(WEFT_COUNTER_BLOCKED_CONNECTS, 1);
		bpf_set_retval(-ECONNREFUSED);
		return 0;
	}
	if (!weft_address_is_set(own) || !listener_port_be)
		return passed(WEFT_COUNTER_FAMILY_CONNECTS);
	if (!worker_listens(ctx, family, listener_port_be))
		return passed(WEFT_COUNTER_PASSED_CONNECTS);
	settings = control_get();
	/* An endpoint of the other family can't be this socket's peer: the proxy tunnels. */
	if (listener->kind == WEFT_LISTENER_TCP && listener->flags & WEFT_LISTENER_KERNEL && settings && settings->fast_path != WEFT_FAST_PATH_OFF &&
	    (cluster_id = tcp_pick(&image, scope->endpoint_slot, listener_ref, source_hash, &endpoint)) > 0 &&
	    weft_address_family(&endpoint.address) == family && connect_endpoint(ctx, socket_family, sk, &endpoint, (u32)cluster_id, pod, &address))
		return 1;

	/* The record first: a captured connection that the worker could not place would be an error that the mesh invented. */
	cookie = bpf_get_socket_cookie(ctx);
	if (!connection_take(pod->pod_id))
		return passed(WEFT_COUNTER_CONNECTIONS_QUOTA);
	if (connection_record(ctx, pod, &address, cookie)) {
		connection_give(pod->pod_id);
		return passed(WEFT_COUNTER_CONNECTIONS_FULL);
	}
	if (!socket_begin(ctx, sk, WEFT_ROLE_CLIENT, pod, &address)) {
		connection_delete(cookie, pod->pod_id);
		return passed(WEFT_COUNTER_CONNECTIONS_FULL);
	}
	there = loopback(family);
	address_answer(ctx, socket_family, &there);
	ctx->user_port = listener_port_be;
	return 1;
}

SEC("cgroup/connect4")
int weft_connect4(struct bpf_sock_addr *ctx)
{
	return connect_step(ctx, AF_INET);
}

SEC("cgroup/connect6")
int weft_connect6(struct bpf_sock_addr *ctx)
{
	return connect_step(ctx, AF_INET6);
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

static __always_inline int peername_step(struct bpf_sock_addr *ctx, u32 socket_family)
{
	struct bpf_sock *sk = ctx->sk;
	struct weft_socket *socket;
	struct weft_address original;

	if (!sk)
		return 1;
	socket = bpf_sk_storage_get(&sockets, sk, NULL, 0);
	if (socket && (socket->role == WEFT_ROLE_CLIENT || socket->role == WEFT_ROLE_TCP)) {
		original = socket->original;
		address_answer(ctx, socket_family, &original);
		ctx->user_port = socket->original_port_be;
	}
	return 1;
}

static __always_inline int sockname_step(struct bpf_sock_addr *ctx, u32 socket_family)
{
	struct bpf_sock *sk = ctx->sk;
	struct weft_socket *socket;
	struct weft_address address, own;

	if (!sk)
		return 1;
	socket = bpf_sk_storage_get(&sockets, sk, NULL, 0);
	if (!socket || socket->role != WEFT_ROLE_CLIENT)
		return 1;
	address = address_asked(ctx, socket_family);
	own = loopback(weft_address_family(&address));
	if (weft_address_equals(&address, &own)) {
		address = socket->pod_address;
		address_answer(ctx, socket_family, &address);
	}
	return 1;
}

SEC("cgroup/getpeername4")
int weft_getpeername4(struct bpf_sock_addr *ctx)
{
	return peername_step(ctx, AF_INET);
}

SEC("cgroup/getpeername6")
int weft_getpeername6(struct bpf_sock_addr *ctx)
{
	return peername_step(ctx, AF_INET6);
}

SEC("cgroup/getsockname4")
int weft_getsockname4(struct bpf_sock_addr *ctx)
{
	return sockname_step(ctx, AF_INET);
}

SEC("cgroup/getsockname6")
int weft_getsockname6(struct bpf_sock_addr *ctx)
{
	return sockname_step(ctx, AF_INET6);
}

#endif
