/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only */
/* A redirect into another pod's socket for which there is no socket memory fails after its verdict: the writer gets ENOMEM, or is told less than
 * it wrote, and no program is told anything. TCP waits, or sends again. So nothing is redirected where memory may be short: when TCP is under
 * pressure on this node (net.ipv4.tcp_mem; well before its limit), or the socket's cgroup is at its limit of TCP memory (cgroup v1). The limit of
 * cgroup v2 counts all memory, page cache too, which the kernel frees for it. */
#ifndef WEFT_BPF_MEMORY_H
#define WEFT_BPF_MEMORY_H

#include "kernel.h"

#define PAGE_SHIFT 12    /* where pages are larger, more are asked for than it takes */
#define SPARE_PAGES 64   /* what a socket may take beside the message, and others meanwhile */
#define CGROUP_LEVELS 8

/* Is the cgroup, or one above it, at its limit? */
static __always_inline bool is_cgroup_short(struct mem_cgroup *cgroup, u64 pages)
{
	struct page_counter *counter;
	u64 place;
	int i;

	if (!bpf_core_field_exists(cgroup->tcpmem_active) || !KERNEL_READ(cgroup, tcpmem_active))
		return false;
	place = (u64)cgroup + __builtin_preserve_field_info(cgroup->tcpmem, 0 /* BPF_FIELD_BYTE_OFFSET */);
	for (i = 0; i < CGROUP_LEVELS && place; i++) {
		counter = KERNEL_OBJECT(struct page_counter, place);
		if ((u64)KERNEL_READ(counter, usage.counter) + pages > (u64)KERNEL_READ(counter, max))
			return true;
		place = (u64)KERNEL_READ(counter, parent);
	}
	return false;
}

/* Is there memory for `n` more bytes at the socket that lives at `address`? */
static __always_inline bool has_socket_memory(u64 address, u64 n)
{
	struct sock *sk = KERNEL_OBJECT(struct sock, address);
	u64 place = (u64)KERNEL_READ(sk, __sk_common.skc_prot);
	struct proto *proto = KERNEL_OBJECT(struct proto, place);
	struct list_head *pressure; /* a word: its first field */

#ifdef WEFT_WITHOUT_SOCKET_MEMORY /* for the test of what happens then (tests/order/rest_test.c) */
	return true;
#endif
	place = (u64)KERNEL_READ(proto, memory_pressure);
	pressure = KERNEL_OBJECT(struct list_head, place);
	if (place && KERNEL_READ(pressure, next))
		return false;
	if (!bpf_core_field_exists(sk->sk_memcg))
		return true;
	place = (u64)KERNEL_READ(sk, sk_memcg);
	return !place || !is_cgroup_short(KERNEL_OBJECT(struct mem_cgroup, place), (n >> PAGE_SHIFT) + SPARE_PAGES);
}

#endif
