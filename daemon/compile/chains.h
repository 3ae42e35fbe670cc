/* SPDX-License-Identifier: Apache-2.0 */
/* Which filter chains of a listener there are to take. Envoy orders their conditions (destination port, destination range, server name,
 * transport, application protocol), takes the most specific at each and never comes back for another. */
#ifndef WEFT_COMPILE_CHAINS_H
#define WEFT_COMPILE_CHAINS_H

#include "compile/compile.h"
#include "weft/address_host.h"

/* Destination addresses of one family; bits 0: all of them. */
struct range {
	struct weft_address network;
	uint8_t bits; /* of 128: 96 more than an IPv4 range is written with */
};

struct weft_address range_mask(const struct range *range);
struct weft_address_text range_text(const struct range *range); /* "10.0.0.0/8" */

/* The ranges of a family (AF_INET, AF_INET6) that the listener's chains tell apart for a destination port, the most specific first and all addresses last. To be freed. -ENOMEM. */
int chains_ranges(const struct mesh_listener *listener, int family, uint16_t port, struct range **ranges, size_t *count);
/* The most specific range that has the address. */
struct range chains_range_of(const struct mesh_listener *listener, uint16_t port, const struct weft_address *address);

/* A connection by its first bytes. NULL: no chain takes it, and Envoy closes it. */
struct named_chain {
	const char *name;                          /* "*.example.com", in lower case; "" for any other, or none */
	const struct mesh_filter_chain *chain;
	bool is_by_protocol;                       /* there are others, by ALPN */
};

struct chains {
	const struct mesh_filter_chain *http;      /* HTTP/1.1 in plaintext */
	const struct mesh_filter_chain *rest;      /* any other plaintext; the same as `http` where the listener does not look at bytes */
	bool is_sniffed;                           /* the first bytes decide between the two */
	bool accepts_http_10;                      /* HTTP/1.0 takes `http` too */
	bool sniffs_http_10;                       /* it does not take `rest`; where it takes neither, it is refused as HTTP that is not accepted */
	bool is_rest_http_2;                       /* HTTP/2 in plaintext takes `rest`, and `http` is another */
	bool inspects_tls;                         /* TLS may take another chain than `rest`: */
	struct named_chain *names;                 /* by server name, the one of "" among them; without doubles */
	size_t name_count;
};

/* To be released. -ENOMEM. */
int chains_choose(const struct mesh_listener *listener, int family, uint16_t port, const struct range *range, struct chains *out);
void chains_release(struct chains *chains);

#endif
