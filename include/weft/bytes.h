/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only */
/* Eight bytes at a time: a word holds bytes in memory order, the first in the lowest bits, and a mask has the high bit of every
 * byte that is meant. Also the loop that the verifier checks once, whatever its length. */
#ifndef WEFT_BYTES_H
#define WEFT_BYTES_H

#include "weft/base.h"
#include "weft/head.h"

#define WEFT_ONES 0x0101010101010101ull
#define WEFT_HIGHS 0x8080808080808080ull
#define WEFT_EACH(byte) (WEFT_ONES * (u64)(byte))

/* An offset into a head. The masks are right because a BPF head holds WEFT_KERNEL_HEAD_MAX bytes, a power of two, and
 * WEFT_HEAD_SLACK after them. */
#ifdef __bpf__
#define WEFT_OFFSET(offset) ((offset) & (WEFT_KERNEL_HEAD_MAX - 1))
/* A place that may lie past the end, as a loop goes on with it: the same range for the verifier whatever was added. The compiler must
 * not see that the mask does nothing. */
#define WEFT_PLACE(offset) \
	({ \
		u32 weft_place = (offset); \
		asm volatile("" : "+r"(weft_place)); \
		weft_place & (2 * WEFT_KERNEL_HEAD_MAX - 1); \
	})
#define WEFT_HEAD_MAX WEFT_KERNEL_HEAD_MAX
#else
#define WEFT_OFFSET(offset) (offset)
#define WEFT_PLACE(offset) (offset)
#define WEFT_HEAD_MAX WEFT_PROXY_HEAD_MAX
#endif

/* A bound that only protects the kernel. */
#ifdef WEFT_KERNEL_LIMITS
#define WEFT_KERNEL_LIMIT(n) (n)
#else
#define WEFT_KERNEL_LIMIT(n) 0xffffffffu
#endif

/* A long loop as a short one in a stage of its own that is called again: the verifier, which walks each turn, walks the stage once. What such a stage
 * returns when its turns are up: where to go on, with this bit. */
#define WEFT_TURNS 32u
#define WEFT_TURNS_UP 0x80000000u

/* The value, by way of `slot`: what the verifier knows of a value that went through memory is forgotten, so that paths which differ
 * only in that become one. */
#ifdef __bpf__
#define WEFT_FORGET(slot, value) \
	({ \
		(slot) = (value); \
		asm volatile("" ::: "memory"); \
		(slot); \
	})
#else
#define WEFT_FORGET(slot, value) ((slot) = (value))
#endif

/* Before a loop whose turns are to stand one after the other. */
#ifdef __clang__
#define WEFT_UNROLL _Pragma("clang loop unroll(full)")
#else
#define WEFT_UNROLL _Pragma("GCC unroll 8")
#endif

/* Before a loop whose turns are not to. */
#ifdef __clang__
#define WEFT_ROLLED _Pragma("clang loop unroll(disable)")
#else
#define WEFT_ROLLED
#endif

/* Calls step(index, context) for 0 .. count - 1 until it returns something other than 0. Old kernels (6.1) check a step once, with the
 * context as it is before the first: what a step changes and a later step decides by must not stand in the context, which is on the
 * stack, but in memory that the verifier does not track (struct weft_parser, struct weft_walk). And what grows with every step could
 * not be proved by newer ones: places are computed from the index. */
#ifdef __bpf__
#define WEFT_STEP static __attribute__((noinline)) long
#define WEFT_LOOP(count, step, context) bpf_loop((count), (step), (context), 0)
#else
#define WEFT_STEP static inline __attribute__((unused)) long
#define WEFT_LOOP(count, step, context) \
	do { \
		for (u32 weft_index = 0, weft_count = (count); weft_index < weft_count; weft_index++) \
			if ((step)(weft_index, (context))) \
				break; \
	} while (0)
#endif

#ifdef __bpf__
#define weft_load8(p) (*(const u64 *)(p))
#define weft_load4(p) (*(const u32 *)(p))
#define weft_load2(p) (*(const u16 *)(p))
#else
WEFT_INLINE u64 weft_load8(const void *p)
{
	u64 word;

	memcpy(&word, p, sizeof(word));
	return word;
}

WEFT_INLINE u32 weft_load4(const void *p)
{
	u32 word;

	memcpy(&word, p, sizeof(word));
	return word;
}

WEFT_INLINE u16 weft_load2(const void *p)
{
	u16 word;

	memcpy(&word, p, sizeof(word));
	return word;
}
#endif

#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "words are read in memory order: little-endian machines only"
#endif

/* Bytes that are zero. The lowest flag is exact; a flag above a true one may be wrong, where a byte 1 follows a byte 0. */
WEFT_INLINE u64 weft_zero_bytes(u64 word)
{
	return (word - WEFT_ONES) & ~word & WEFT_HIGHS;
}

/* Bytes that are `byte`, without false flags, in a word of bytes below 0x80. */
WEFT_INLINE u64 weft_equal_bytes(u64 word, u8 byte)
{
	return ~((word ^ WEFT_EACH(byte)) + WEFT_EACH(0x7f)) & WEFT_HIGHS;
}

/* Bytes in [from, to], in a word of bytes below 0x80. */
WEFT_INLINE u64 weft_bytes_between(u64 word, u8 from, u8 to)
{
	return (word + WEFT_EACH(0x80 - from)) & ~(word + WEFT_EACH(0x7f - to)) & WEFT_HIGHS;
}

/* All bits of the bytes before the first flagged one. */
WEFT_INLINE u64 weft_before(u64 flags)
{
	return ((flags & -flags) >> 7) - 1;
}

/* All bits of the bytes up to the first flagged one and of that one; without a flag all. */
WEFT_INLINE u64 weft_through(u64 flags)
{
	return flags ^ (flags - 1);
}

/* How many bytes a mask from weft_before() or weft_through() covers. */
WEFT_INLINE u32 weft_count_before(u64 before)
{
	return ((before & WEFT_ONES) * WEFT_ONES) >> 56;
}

/* One bit a byte: bit n for a flag on byte n. */
WEFT_INLINE u64 weft_flag_bits(u64 flags)
{
	return (flags * 0x0002040810204081ull) >> 56;
}

/* The number of the lowest bit of a word that has one, without a branch (de Bruijn). clang 16 can't compile __builtin_ctzll here. */
WEFT_INLINE u32 weft_lowest_bit(u64 bits)
{
#ifdef __bpf__
	static const u8 numbers[64] = {
		0,  1,  2,  53, 3,  7,  54, 27, 4,  38, 41, 8,  34, 55, 48, 28, 62, 5,  39, 46, 44, 42, 22, 9,  24, 35, 59, 56, 49, 18, 29, 11,
		63, 52, 6,  26, 37, 40, 33, 47, 61, 45, 43, 21, 23, 58, 17, 10, 51, 25, 36, 32, 60, 20, 57, 16, 50, 31, 19, 15, 30, 14, 13, 12,
	};

	return numbers[((bits & -bits) * 0x022fdd63cc95386dull) >> 58];
#else
	return __builtin_ctzll(bits);
#endif
}

/* All bits of the first `n` bytes; n <= 8. */
WEFT_INLINE u64 weft_first_bytes(u32 n)
{
	return n >= 8 ? ~0ull : (1ull << (8 * n)) - 1;
}

/* All bits of the bytes that a text of `len` has in its last word, if that is not full: those of len % 8 bytes. */
WEFT_INLINE u64 weft_bytes_of(u32 len)
{
	return (1ull << (8 * (len & 7))) - 1;
}

/* A-Z to a-z; other bytes, those from 0x80 on too, stay. */
WEFT_INLINE u64 weft_lower_word(u64 word)
{
	u64 low = word & WEFT_EACH(0x7f);

	return word | ((weft_bytes_between(low, 'A', 'Z') & ~word) >> 2);
}

WEFT_INLINE u8 weft_lower(u8 byte)
{
	return byte >= 'A' && byte <= 'Z' ? byte | 0x20 : byte;
}

#endif
