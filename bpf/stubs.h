/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only */
/* What is attached: permanent stubs. A socket keeps the program of its map for life, so the real programs stand behind
 * PROG_ARRAYs, where one update replaces them under live sockets (kernel-facts, T9). An empty array means: leave it alone. */
#ifndef WEFT_BPF_STUBS_H
#define WEFT_BPF_STUBS_H

#include "maps.h"
#include "overlap.h"

SEC("sk_msg")
int stub_request(struct sk_msg_md *msg)
{
	bpf_tail_call(msg, &msg_programs, MSG_REQUEST);
	return SK_PASS;
}

SEC("sk_msg")
int stub_reply(struct sk_msg_md *msg)
{
	bpf_tail_call(msg, &msg_programs, MSG_REPLY);
	return SK_PASS;
}

SEC("sk_skb/stream_verdict")
int stub_response(struct __sk_buff *skb)
{
	bpf_tail_call(skb, &skb_programs, SKB_RESPONSE);
	return SK_PASS;
}

/* Attached beside sk_msg where the kernel counts no TCP bytes for FIONREAD on a socket with a message program alone. */
SEC("sk_skb/stream_verdict")
int stub_fionread(struct __sk_buff *skb)
{
	u64 cookie = bpf_get_socket_cookie(skb);
	struct weft_connection *connection = bpf_map_lookup_elem(&connections, &cookie);

	if (connection && connection->established_ns)
		overlap_cut(skb, &connection->received_seq);
	return SK_PASS;
}

SEC("sockops")
int stub_sockops(struct bpf_sock_ops *ctx)
{
	bpf_tail_call(ctx, &sockops_programs, 0);
	return 1;
}

SEC("cgroup/connect4")
int stub_connect4(struct bpf_sock_addr *ctx)
{
	bpf_tail_call(ctx, &connect4_programs, 0);
	return 1;
}

SEC("cgroup/getpeername4")
int stub_getpeername4(struct bpf_sock_addr *ctx)
{
	bpf_tail_call(ctx, &getpeername4_programs, 0);
	return 1;
}

SEC("cgroup/getsockname4")
int stub_getsockname4(struct bpf_sock_addr *ctx)
{
	bpf_tail_call(ctx, &getsockname4_programs, 0);
	return 1;
}

SEC("cgroup/connect6")
int stub_connect6(struct bpf_sock_addr *ctx)
{
	bpf_tail_call(ctx, &connect6_programs, 0);
	return 1;
}

SEC("cgroup/getpeername6")
int stub_getpeername6(struct bpf_sock_addr *ctx)
{
	bpf_tail_call(ctx, &getpeername6_programs, 0);
	return 1;
}

SEC("cgroup/getsockname6")
int stub_getsockname6(struct bpf_sock_addr *ctx)
{
	bpf_tail_call(ctx, &getsockname6_programs, 0);
	return 1;
}

SEC("cgroup/sock_release")
int stub_release(struct bpf_sock *ctx)
{
	bpf_tail_call(ctx, &release_programs, 0);
	return 1;
}

#endif
