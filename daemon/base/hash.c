/* SPDX-License-Identifier: Apache-2.0 */
#include "base/hash.h"

#include <endian.h>
#include <sys/auxv.h>

struct sip {
	uint64_t v0, v1, v2, v3;
};

static inline uint64_t rotated(uint64_t word, int bits)
{
	return word << bits | word >> (64 - bits);
}

static inline void sip_round(struct sip *s)
{
	s->v0 += s->v1;
	s->v2 += s->v3;
	s->v1 = rotated(s->v1, 13) ^ s->v0;
	s->v3 = rotated(s->v3, 16) ^ s->v2;
	s->v0 = rotated(s->v0, 32);
	s->v2 += s->v1;
	s->v0 += s->v3;
	s->v1 = rotated(s->v1, 17) ^ s->v2;
	s->v3 = rotated(s->v3, 21) ^ s->v0;
	s->v2 = rotated(s->v2, 32);
}

static inline void sip_word(struct sip *s, uint64_t word)
{
	s->v3 ^= word;
	sip_round(s);
	s->v0 ^= word;
}

uint64_t sip_hash(const uint64_t key[2], const void *bytes, size_t size)
{
	struct sip s = { key[0] ^ 0x736f6d6570736575ull, key[1] ^ 0x646f72616e646f6dull, key[0] ^ 0x6c7967656e657261ull, key[1] ^ 0x7465646279746573ull };
	uint64_t word, last = (uint64_t)size << 56;
	const uint8_t *at = bytes;

	for (; size >= sizeof(word); at += sizeof(word), size -= sizeof(word)) {
		memcpy(&word, at, sizeof(word));
		sip_word(&s, le64toh(word));
	}
	word = 0;
	if (size)
		memcpy(&word, at, size);
	sip_word(&s, last | le64toh(word));
	s.v2 ^= 0xff;
	for (int i = 0; i < 3; i++)
		sip_round(&s);
	return s.v0 ^ s.v1 ^ s.v2 ^ s.v3;
}

/* The kernel gives every process 16 random bytes when it starts. */
uint64_t keyed_hash(const void *bytes, size_t size)
{
	uint64_t key[2];

	memcpy(key, (const void *)getauxval(AT_RANDOM), sizeof(key));
	return sip_hash(key, bytes, size);
}
