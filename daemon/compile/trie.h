/* SPDX-License-Identifier: Apache-2.0 */
/* The path automaton of one virtual host: literals in, a radix trie with candidate lists out (weft/image.h describes the walk). */
#ifndef WEFT_COMPILE_TRIE_H
#define WEFT_COMPILE_TRIE_H

#include "compile/builder.h"

struct trie_literal {
	const uint8_t *bytes;
	uint32_t len;
	uint32_t route;       /* index in its virtual host */
	bool is_prefix;       /* otherwise exact */
};

struct trie_limits {
	uint32_t list;        /* candidates in one list; what comes later is `overflow_route` */
	uint32_t entries;     /* candidates in all lists together */
	uint32_t overflow_route;
	uint32_t *least;      /* NULL, or of each route: how many stand before it in a list at least; those in no list keep what was there */
};

/* `is_final[route]`: a route without conditions, after which nothing is tried. Sorts `literals`. `root` is 0 when there are none. Returns 0,
 * -EOVERFLOW when limits.entries is exceeded (nothing was built: try again with a smaller limits.list), -ENOMEM or the builder's error.
 * `was_cut` says whether some list ends in the overflow route. */
int trie_build(struct builder *builder, struct trie_literal *literals, size_t count, const bool *is_final, const struct trie_limits *limits,
	       weft_ref *root, bool *was_cut);

#endif
