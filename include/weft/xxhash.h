/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only */
/* xxHash64 (Yann Collet's specification, XXH64), by which Envoy turns what a hash policy finds into a number and endpoints into places. */
#ifndef WEFT_XXHASH_H
#define WEFT_XXHASH_H

#include "weft/base.h"
#include "weft/bytes.h"
#include "weft/head.h"

#define WEFT_XX_PRIME_1 0x9e3779b185ebca87ull
#define WEFT_XX_PRIME_2 0xc2b2ae3d27d4eb4full
#define WEFT_XX_PRIME_3 0x165667b19e3779f9ull
#define WEFT_XX_PRIME_4 0x85ebca77c2b2ae63ull
#define WEFT_XX_PRIME_5 0x27d4eb2f165667c5ull

#define WEFT_HASH_VALUE_MAX 256 /* bytes that the kernel hashes; more: the proxy */

WEFT_INLINE u64 weft_rotate(u64 value, u32 by)
{
	return value << by | value >> (64 - by);
}

WEFT_INLINE u64 weft_xx_round(u64 lane, u64 word)
{
	return weft_rotate(lane + word * WEFT_XX_PRIME_2, 31) * WEFT_XX_PRIME_1;
}

WEFT_INLINE u64 weft_xx_merge(u64 h, u64 lane)
{
	return (h ^ weft_xx_round(0, lane)) * WEFT_XX_PRIME_1 + WEFT_XX_PRIME_4;
}

/* Of `len` bytes at `off`; not more than WEFT_HASH_VALUE_MAX in the kernel, the caller looks. */
WEFT_STAGE u64 weft_xxhash64(const struct weft_head_bytes *bytes, u32 off, u32 len, u64 seed)
{
	u64 a, b, c, d, h;
	const u8 *p;
	u32 at = 0, i;

	if (!bytes)
		return 0;
	p = bytes->data;
	if (len >= 32) {
		a = seed + WEFT_XX_PRIME_1 + WEFT_XX_PRIME_2;
		b = seed + WEFT_XX_PRIME_2;
		c = seed;
		d = seed - WEFT_XX_PRIME_1;
		for (i = 0; i < WEFT_KERNEL_LIMIT(WEFT_HASH_VALUE_MAX / 32); i++) {
			if (at + 32 > len)
				break;
			a = weft_xx_round(a, weft_load8(p + WEFT_OFFSET(off + at)));
			b = weft_xx_round(b, weft_load8(p + WEFT_OFFSET(off + at + 8)));
			c = weft_xx_round(c, weft_load8(p + WEFT_OFFSET(off + at + 16)));
			d = weft_xx_round(d, weft_load8(p + WEFT_OFFSET(off + at + 24)));
			at += 32;
		}
		h = weft_rotate(a, 1) + weft_rotate(b, 7) + weft_rotate(c, 12) + weft_rotate(d, 18);
		h = weft_xx_merge(h, a);
		h = weft_xx_merge(h, b);
		h = weft_xx_merge(h, c);
		h = weft_xx_merge(h, d);
	} else {
		h = seed + WEFT_XX_PRIME_5;
	}
	h += len;
	for (i = 0; i < 3; i++) {
		if (at + 8 > len)
			break;
		h ^= weft_xx_round(0, weft_load8(p + WEFT_OFFSET(off + at)));
		h = weft_rotate(h, 27) * WEFT_XX_PRIME_1 + WEFT_XX_PRIME_4;
		at += 8;
	}
	if (at + 4 <= len) {
		h ^= (u64)weft_load4(p + WEFT_OFFSET(off + at)) * WEFT_XX_PRIME_1;
		h = weft_rotate(h, 23) * WEFT_XX_PRIME_2 + WEFT_XX_PRIME_3;
		at += 4;
	}
	for (i = 0; i < 3; i++) {
		if (at >= len)
			break;
		h ^= (u64)p[WEFT_OFFSET(off + at)] * WEFT_XX_PRIME_5;
		h = weft_rotate(h, 11) * WEFT_XX_PRIME_1;
		at++;
	}
	h ^= h >> 33;
	h *= WEFT_XX_PRIME_2;
	h ^= h >> 29;
	h *= WEFT_XX_PRIME_3;
	return h ^ h >> 32;
}

#endif
