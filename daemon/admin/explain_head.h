/* SPDX-License-Identifier: Apache-2.0 */
/* A URL and header lines as the head that a client would send. */
#ifndef WEFT_ADMIN_EXPLAIN_HEAD_H
#define WEFT_ADMIN_EXPLAIN_HEAD_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/strbuf.h"
#include "weft/address_host.h"

struct explain_url {
	char host[256];      /* without port and brackets */
	struct weft_address address; /* of the host, if it is one; else 0.0.0.0 */
	bool is_ip;
	bool is_tls;         /* https */
	uint16_t port;
	const char *target;  /* path and query, in the URL's text; "/" for none */
};

/* 0, or -EINVAL with a sentence in `complaint`. */
int explain_url_parse(const char *text, struct explain_url *out, char *complaint, size_t size);

/* The head, with what curl would send by itself where no header of that name is given: Host. Header lines are taken as they are but for line
 * breaks, which are refused. 0, -EINVAL with a complaint, -ENOMEM. */
int explain_head(const char *method, const struct explain_url *url, const json_t *headers, struct strbuf *out, char *complaint, size_t size);

#endif
