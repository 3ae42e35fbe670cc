// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only
/* What the kernel's redirection costs by itself: programs that look a socket up and do nothing else. Sockets are known by the client's port, since all
 * clients of a run are one pod's. */
#include "weft/base.h"
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#define SOL_SOCKET 1
#define SO_RCVBUF 8
#define RECEIVE_BUFFER_BYTES (4 << 20) /* as weft sets it: bytes that sk_skb moves wait for a timer when it is full */

const volatile u32 port = 0; /* that clients dial */

#define SOCKETS(name)                              \
	struct {                                   \
		__uint(type, BPF_MAP_TYPE_SOCKHASH); \
		__uint(max_entries, 65536);        \
		__type(key, u32);                  \
		__type(value, u64);                \
	} name SEC(".maps")
SOCKETS(clients);
SOCKETS(servers);
SOCKETS(upstreams);

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 65536);
	__type(key, u32);
	__type(value, u32);
} client_ports SEC(".maps"); /* by the upstream's own */

SEC("sockops")
int established(struct bpf_sock_ops *ctx)
{
	int bytes = RECEIVE_BUFFER_BYTES;
	u32 key;

	if (ctx->op == BPF_SOCK_OPS_ACTIVE_ESTABLISHED_CB && bpf_ntohl(ctx->remote_port) == port) {
		key = ctx->local_port;
		bpf_setsockopt(ctx, SOL_SOCKET, SO_RCVBUF, &bytes, sizeof(bytes));
		bpf_sock_hash_update(ctx, &clients, &key, BPF_ANY);
	} else if (ctx->op == BPF_SOCK_OPS_PASSIVE_ESTABLISHED_CB && ctx->local_port == port) {
		key = bpf_ntohl(ctx->remote_port);
		bpf_sock_hash_update(ctx, &servers, &key, BPF_ANY);
	}
	return 1;
}

/* On a miss the bytes go by TCP. */
SEC("sk_msg")
int to_server(struct sk_msg_md *msg)
{
	u32 key = msg->local_port;

	bpf_msg_redirect_hash(msg, &servers, &key, BPF_F_INGRESS);
	return SK_PASS;
}

SEC("sk_msg")
int to_client(struct sk_msg_md *msg)
{
	u32 key = bpf_ntohl(msg->remote_port);

	bpf_msg_redirect_hash(msg, &clients, &key, BPF_F_INGRESS);
	return SK_PASS;
}

SEC("sk_msg")
int to_upstream(struct sk_msg_md *msg)
{
	u32 key = msg->local_port;

	bpf_msg_redirect_hash(msg, &upstreams, &key, 0);
	return SK_PASS;
}

SEC("sk_skb/stream_verdict")
int from_upstream(struct __sk_buff *skb)
{
	u32 key = skb->local_port, *client = bpf_map_lookup_elem(&client_ports, &key);

	if (client) {
		key = *client;
		bpf_sk_redirect_hash(skb, &clients, &key, BPF_F_INGRESS);
	}
	return SK_PASS;
}

/* FIONREAD needs one: see bpf/stubs.h. */
SEC("sk_skb/stream_verdict")
int pass(struct __sk_buff *skb)
{
	return SK_PASS;
}
