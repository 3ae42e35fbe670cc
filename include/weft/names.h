/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only */
/* Header names: their hash, and the names the parser knows. */
#ifndef WEFT_NAMES_H
#define WEFT_NAMES_H

#include "weft/base.h"

#define WEFT_NAME_SEED 0x9e3779b97f4a7c15ull
#define WEFT_NAME_MULTIPLIER 0xff51afd7ed558ccdull

/* A name is hashed in little-endian words of 8 lower-cased bytes, the last filled up with zeros. */
WEFT_INLINE u64 weft_name_hash_step(u64 h, u64 word)
{
	h = (h ^ word) * WEFT_NAME_MULTIPLIER;
	return h ^ (h >> 32);
}

WEFT_INLINE u32 weft_name_hash_finish(u64 h, u32 len)
{
	return (u32)(h ^ len);
}

#ifndef __bpf__
/* Over a name of any case: what the parser puts into weft_field.name_hash and compile into weft_condition.name_hash. */
static inline u32 weft_name_hash(const u8 *name, u32 len)
{
	u64 h = WEFT_NAME_SEED, word = 0;
	u32 i;

	for (i = 0; i < len; i++) {
		u8 c = name[i];

		if (c >= 'A' && c <= 'Z')
			c |= 0x20;
		word |= (u64)c << (8 * (i & 7));
		if ((i & 7) == 7 || i + 1 == len) {
			h = weft_name_hash_step(h, word);
			word = 0;
		}
	}
	return weft_name_hash_finish(h, len);
}
#endif

#endif
