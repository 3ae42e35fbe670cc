/* SPDX-License-Identifier: Apache-2.0 */
/* A hash of content, eight bytes at a time: for what is megabytes and comes again and again. Equal content, equal hash; not the other way round for
 * somebody who looks for a collision, so whoever may gain by one compares the bytes. */
#ifndef WEFT_BASE_HASH_H
#define WEFT_BASE_HASH_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

static inline uint64_t content_hash(const void *bytes, size_t size)
{
	uint64_t hash = 0xcbf29ce484222325ull ^ size, word;
	const uint8_t *at = bytes;

	for (; size >= sizeof(word); at += sizeof(word), size -= sizeof(word)) {
		memcpy(&word, at, sizeof(word));
		hash = (hash ^ word) * 0x9fb21c651e98df25ull;
		hash ^= hash >> 29;
	}
	word = 0;
	if (size)
		memcpy(&word, at, size);
	hash = (hash ^ word) * 0x9fb21c651e98df25ull;
	return hash ^ hash >> 32;
}

/* Of whoever may gain by equal hashes of different content, where bytes can't be compared: SipHash-1-3, its key random for each process. Not to be kept
 * or told. */
uint64_t keyed_hash(const void *bytes, size_t size);
uint64_t sip_hash(const uint64_t key[2], const void *bytes, size_t size);

#endif
