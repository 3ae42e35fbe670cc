/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only */
/* What every engine header stands on: the same integer types and loop form for BPF programs, the daemon, unit tests and
 * fuzzers. In BPF an offset into a buffer is masked, because the verifier must see that it stays inside; on the host the
 * mask is all ones and the compiler drops it (callers then guarantee the bound, and the sanitizers check it). */
#ifndef WEFT_BASE_H
#define WEFT_BASE_H

/* What only protects the kernel is there in programs, and in what is to tell what they would do (admin/explain_kernel.c). */
#ifdef __bpf__
#define WEFT_KERNEL_LIMITS
#endif

#ifdef __bpf__
#include <linux/bpf.h>
#include <linux/types.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_endian.h>

typedef __u8 u8;
typedef __u16 u16;
typedef __u32 u32;
typedef __u64 u64;
typedef __s32 s32;
typedef __s64 s64;
typedef _Bool bool;
#define true 1
#define false 0
#ifndef NULL
#define NULL ((void *)0)
#endif
#define WEFT_INLINE static __always_inline
/* A stage: the verifier checks a global function once, by itself. Weak, so that several objects may hold it when they are
 * linked, and so that the compiler assumes nothing about its result that the verifier would not know. */
#define WEFT_STAGE __attribute__((noinline, weak))
#else
#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

typedef uint8_t u8;
typedef uint16_t u16;
typedef uint32_t u32;
typedef uint64_t u64;
typedef int32_t s32;
typedef int64_t s64;
#define WEFT_INLINE static inline
#define WEFT_STAGE static inline __attribute__((unused))
#endif

#define WEFT_MIN(a, b) ((a) < (b) ? (a) : (b))
#define WEFT_MAX(a, b) ((a) > (b) ? (a) : (b))
#define WEFT_ARRAY_SIZE(a) (sizeof(a) / sizeof((a)[0]))

/* Byte offset and length inside a head buffer. Heads are at most 60 KiB (Envoy's max_request_headers_kb), so 16 bits do. */
struct weft_span {
	u16 off;
	u16 len;
};

#endif
