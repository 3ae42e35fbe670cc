/* SPDX-License-Identifier: Apache-2.0 */
/* One HTTP/2 stream on a connection that libcurl has made (CURLOPT_CONNECT_ONLY), by nghttp2. libcurl's own HTTP/2 (7.88.1) takes no end of an
 * answer for its end while the request goes on, and drops a head or data that come in one read with RST_STREAM(NO_ERROR), as servers send them. */
#ifndef WEFT_XDS_H2_H
#define WEFT_XDS_H2_H

#include <curl/curl.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct event_base;
struct xds_h2;

struct xds_h2_field {
	const char *name, *value; /* names in lower case */
};

struct xds_h2_state {
	bool is_over;         /* nothing will come any more */
	bool has_ended;       /* by END_STREAM, in good order */
	bool is_reset;        /* by RST_STREAM, with `reset_code` */
	bool is_silent;       /* the peer answers no PING */
	uint32_t reset_code;
	bool has_goaway;      /* `goaway_code`, and what was said with it */
	uint32_t goaway_code;
	char goaway_text[64];
	char problem[160];    /* of the connection; "" */
};

/* From the loop. `settled` comes last in each round, and only it may free. */
struct xds_h2_events {
	int (*field)(void *context, const char *name, size_t name_size, const char *value, size_t value_size);
	int (*data)(void *context, const void *bytes, size_t size);
	/* Up to `size` bytes to send; 0: none now, or with `is_end` never again. */
	size_t (*take)(void *context, void *bytes, size_t size, bool *is_end);
	void (*settled)(void *context);
};

/* `easy` stays the caller's and must live longer. A PING is sent after `keepalive_s` without a byte, and must be answered within half of that. */
int xds_h2_new(struct xds_h2 **out, struct event_base *base, CURL *easy, const struct xds_h2_field *fields, size_t field_count, uint32_t keepalive_s,
	       const struct xds_h2_events *events, void *context);
/* There is something to take. */
void xds_h2_resume(struct xds_h2 *h2);
void xds_h2_get_state(const struct xds_h2 *h2, struct xds_h2_state *out);
const char *xds_h2_code_name(uint32_t code);
void xds_h2_free(struct xds_h2 **h2);

#endif
