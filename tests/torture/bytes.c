// SPDX-License-Identifier: Apache-2.0
#include "bytes.h"

#include <stdlib.h>
#include <string.h>

/* The finaliser of splitmix64: a bijection, so that different positions of one stream never repeat a word. */
uint64_t mix64(uint64_t x)
{
	x += 0x9e3779b97f4a7c15ULL;
	x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ULL;
	x = (x ^ (x >> 27)) * 0x94d049bb133111ebULL;
	return x ^ (x >> 31);
}

uint64_t bytes_key(uint64_t run, uint64_t conn, uint64_t req, enum bytes_of what)
{
	return mix64(mix64(mix64(run) ^ conn) ^ (req << 8 | what));
}

static uint64_t word_at(uint64_t key, uint64_t idx)
{
	return mix64(key + idx);
}

void bytes_fill(uint64_t key, uint64_t offset, void *out, size_t len)
{
	uint8_t *p = out;

	while (len > 0) {
		uint64_t word = word_at(key, offset / 8);
		size_t skip = offset % 8;
		size_t n = 8 - skip < len ? 8 - skip : len;

		memcpy(p, (uint8_t *)&word + skip, n);
		p += n;
		offset += n;
		len -= n;
	}
}

size_t bytes_check(uint64_t key, uint64_t offset, const void *data, size_t len)
{
	const uint8_t *p = data;
	size_t done = 0;

	while (done < len) {
		uint64_t word = word_at(key, offset / 8);
		size_t skip = offset % 8;
		size_t n = 8 - skip < len - done ? 8 - skip : len - done;

		if (memcmp(p + done, (uint8_t *)&word + skip, n) != 0) {
			while (p[done] == ((uint8_t *)&word)[skip])
				done++, skip++;
			return done;
		}
		done += n;
		offset += n;
	}
	return len;
}

int64_t bytes_find(uint64_t key, uint64_t limit, const void *data, size_t len)
{
	enum { WINDOW = 65536 };
	size_t needle = len < 16 ? len : 16;
	uint8_t *window;
	int64_t found = -1;

	window = malloc(WINDOW + 16);
	if (!window || needle < 8) {
		free(window);
		return -1;
	}
	for (uint64_t at = 0; at < limit && found < 0; at += WINDOW) {
		const uint8_t *hit;

		bytes_fill(key, at, window, WINDOW + 16);
		hit = memmem(window, WINDOW + 16, data, needle);
		if (hit)
			found = (int64_t)(at + (uint64_t)(hit - window));
	}
	free(window);
	return found;
}

void text_fill(uint64_t key, uint64_t offset, char *out, size_t len)
{
	static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

	bytes_fill(key, offset, out, len);
	for (size_t i = 0; i < len; i++)
		out[i] = alphabet[(uint8_t)out[i] & 63];
}

bool text_check(uint64_t key, uint64_t offset, const char *data, size_t len)
{
	char expected[256];

	for (size_t done = 0; done < len;) {
		size_t n = len - done < sizeof(expected) ? len - done : sizeof(expected);

		text_fill(key, offset + done, expected, n);
		if (memcmp(data + done, expected, n) != 0)
			return false;
		done += n;
	}
	return true;
}

uint64_t rng_next(struct rng *rng)
{
	return mix64(rng->state++);
}

uint64_t rng_below(struct rng *rng, uint64_t limit)
{
	return limit ? rng_next(rng) % limit : 0;
}

bool rng_permille(struct rng *rng, unsigned int permille)
{
	return rng_next(rng) % 1000 < permille;
}
