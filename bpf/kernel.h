/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only */
/* The few fields of kernel structures that the programs read, by CO-RE: libbpf finds their offsets in the running kernel's BTF. */
#ifndef WEFT_BPF_KERNEL_H
#define WEFT_BPF_KERNEL_H

#include "weft/base.h"
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_helpers.h>

#define AF_INET 2
#define AF_INET6 10
#define SOCK_STREAM 1
#define IPPROTO_TCP 6
#define ECONNREFUSED 111
#define TCP_ESTABLISHED_STATE 1
#define TCP_SYN_SENT_STATE 2
#define TCP_FIN_WAIT1_STATE 4
#define TCP_CLOSE_STATE 7
#define TCP_CLOSE_WAIT_STATE 8
#define TCP_LISTEN_STATE 10
#define SOCK_DONE_FLAG 2ul /* 1 << SOCK_DONE: a FIN came */
#define SOL_SOCKET 1
#define SO_RCVBUF 8

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)

struct list_head {
	struct list_head *next, *prev;
};
struct sk_buff_head {
	u32 qlen;
};
struct sk_psock {
	struct sk_buff_head ingress_skb; /* bytes that a kernel worker has yet to deliver */
	struct list_head ingress_msg;    /* redirected bytes that wait to be read */
};
typedef struct {
	s64 counter;
} atomic64_t;
typedef struct {
	int counter;
} atomic_t;
typedef struct refcount_struct {
	atomic_t refs;
} refcount_t;
struct sk_msg_sg {
	u32 start;
};
struct sk_msg {
	struct sk_msg_sg sg;
};
struct page_counter {
	atomic64_t usage; /* pages */
	unsigned long max;
	struct page_counter *parent;
};
struct mem_cgroup {
	struct page_counter tcpmem;
	bool tcpmem_active; /* the limit counts: cgroup v1, once it was set */
};
struct proto {
	unsigned long *memory_pressure;
};
struct sock_common {
	struct proto *skc_prot;
	atomic64_t skc_cookie;
	refcount_t skc_refcnt;
	unsigned long skc_flags;
};
struct hlist_node {
	struct hlist_node **pprev;
};
struct timer_list {
	struct hlist_node entry;
};
typedef struct spinlock {
	int value; /* read as raw bytes: any bit set means that somebody holds it or waits */
} spinlock_t;
typedef struct {
	spinlock_t slock;
	int owned;
} socket_lock_t;
struct file {
	unsigned int f_flags;
};
struct socket {
	unsigned long flags;
	struct file *file;
};
typedef struct wait_queue_head {
	struct list_head head;
} wait_queue_head_t;
struct socket_wq {
	wait_queue_head_t wait;
};
struct sock {
	struct socket_wq *sk_wq;
	struct sock_common __sk_common;
	socket_lock_t sk_lock;
	struct timer_list sk_timer;
	void *sk_user_data;
	struct socket *sk_socket;
	struct mem_cgroup *sk_memcg;
	int sk_wmem_queued;
	int sk_sndbuf;
	int sk_rcvbuf;
	struct {
		atomic_t rmem_alloc;
	} sk_backlog;
};
struct inet_connection_sock {
	struct timer_list icsk_retransmit_timer;
	struct timer_list icsk_delack_timer;
};
struct tcp_sock {
	u32 rcv_nxt;
	u32 copied_seq;
	u32 snd_una;
	u32 write_seq;
	u32 data_segs_out;
	u64 bytes_sent;
	u64 bytes_retrans;
	u64 bytes_received;
};

#pragma clang attribute pop

/* Newer kernels (6.2) turn an address into a pointer that a program may load through: a field costs an instruction. Before that, a helper
 * call. Either way a wrong address reads 0 and harms nobody. */
const volatile bool has_direct_reads = false;

extern void *bpf_rdonly_cast(const void *address, u32 btf_id) __ksym __weak;

#define KERNEL_OBJECT(type, address)                                                                                 \
	({                                                                                                           \
		type *object_ = (type *)(address);                                                       \
		if (has_direct_reads)                                                                                \
			object_ = bpf_rdonly_cast((const void *)(address), bpf_core_type_id_kernel(type));           \
		object_;                                                                                             \
	})

/* `field` of what KERNEL_OBJECT gave. */
#define KERNEL_READ(object, field)                                                         \
	({                                                                                 \
		typeof((object)->field) value_ = 0;                                        \
		if (has_direct_reads)                                                      \
			value_ = (object)->field;                                          \
		else                                                                       \
			bpf_core_read(&value_, sizeof(value_), &(object)->field);          \
		value_;                                                                    \
	})

/* What is read above was read before what is read below. A processor that keeps its reads in order by itself (x86) needs no more than the
 * compiler's word; an atomic operation orders them on others, if its result is asked for, and waits for all that is under way. */
const volatile bool has_ordered_reads = false;

#define READS_IN_ORDER(place)                                               \
	({                                                                  \
		if (has_ordered_reads)                                      \
			asm volatile("" ::: "memory");                      \
		else                                                        \
			asm volatile("" ::"r"(__sync_fetch_and_add(place, 0)) : "memory"); \
	})

/* Writes only what differs: a line that both ends have stays with both. */
#define STORE_CHANGED(place, value)             \
	({                                      \
		typeof(place) value_ = (value); \
		if ((place) != value_)          \
			(place) = value_;       \
	})

/* The compiler knows the bounds that were checked and drops a mask; the verifier of 6.1 forgets them when the value is spilled. */
#define BOUNDED(value, mask) \
	({ \
		u32 bounded_ = (value); \
		asm volatile("" : "+r"(bounded_)); \
		bounded_ &(mask); \
	})

#endif
