/* SPDX-License-Identifier: Apache-2.0 */
/* Names of endpoints (STRICT_DNS and LOGICAL_DNS clusters), asked again and again at the node's resolvers: as long as the records live or as
 * often as the clusters say. A name that can't be asked just now keeps its last answer; that there is no such name is an answer. Only
 * IPv4. Everything belongs to the thread of the event loop. */
#ifndef WEFT_DNS_H
#define WEFT_DNS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/strbuf.h"
#include "mesh/mesh.h"

struct dns;
struct event_base;

/* What is known of a name. */
struct dns_answer {
	const uint32_t *ip4_be;  /* sorted, without doubles; NULL for none */
	size_t count;
	uint32_t first_ip4_be;   /* the first of the last answer that had one; 0: never */
	bool is_known;           /* an answer has come, be it an empty one */
};

struct dns_options {
	struct event_base *base;
	const char *resolv_conf;  /* "nameserver ADDRESS[:PORT]", search, options */
	/* Some name that is asked for has another answer now; several at once are one call. */
	void (*changed)(void *arg);
	void *arg;
};

int dns_new(struct dns **out, const struct dns_options *options);
void dns_free(struct dns **dns);

/* From now on the names of these meshes' clusters: new ones are asked at once, those that nobody names any more are forgotten. The meshes are read,
 * not kept. On -ENOMEM some are missing. */
int dns_want(struct dns *dns, const struct mesh *const *meshes, size_t mesh_count);

/* `name` as configured. False: nobody asks for it. The addresses are good until the loop runs again. */
bool dns_find(const struct dns *dns, const char *name, struct dns_answer *out);

/* How many names there are, and how many of them have no answer yet. */
void dns_count(const struct dns *dns, size_t *names, size_t *unknown);

/* What is known, as text for a next process, and back, before dns_want(). Lines that make no sense are left out. */
int dns_save(const struct dns *dns, struct strbuf *out);
int dns_restore(struct dns *dns, const char *text);

#endif
