/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only */
/* Why the head of a request, or what the parser says of it, makes it the proxy's. */
#ifndef WEFT_FAST_H
#define WEFT_FAST_H

#include "weft/base.h"
#include "weft/head.h"
#include "weft/image.h"
#include "weft/reason.h"

WEFT_INLINE u32 weft_head_reason(const struct weft_head *head, u16 listener_flags)
{
	u32 flags = head->flags;

	if (flags & WEFT_HEAD_CHUNKED)
		return WEFT_REASON_CHUNKED_REQUEST;
	if (flags & (WEFT_HEAD_CLOSE | WEFT_HEAD_CONNECTION_OTHER))
		return WEFT_REASON_CONNECTION_CLOSE;
	if (flags & WEFT_HEAD_UPGRADE)
		return WEFT_REASON_UPGRADE;
	if (flags & (WEFT_HEAD_EXPECT_CONTINUE | WEFT_HEAD_EXPECT_OTHER))
		return WEFT_REASON_EXPECT;
	if (flags & WEFT_HEAD_HTTP_10)
		return WEFT_REASON_HTTP_10;
	if (flags & (WEFT_HEAD_ABSOLUTE_FORM | WEFT_HEAD_ASTERISK | WEFT_HEAD_CONNECT))
		return WEFT_REASON_ABSOLUTE_FORM;
	if (flags & WEFT_HEAD_NORMALIZES || (flags & WEFT_HEAD_SLASHES && listener_flags & WEFT_LISTENER_MERGE_SLASHES))
		return WEFT_REASON_NORMALIZES;
	if (flags & WEFT_HEAD_ODD)
		return WEFT_REASON_ODD_HEAD;
	if (flags & WEFT_REQUEST_PROXY_ONLY)
		return WEFT_REASON_PRIVATE_HEADER;
	return WEFT_REASON_NONE;
}

WEFT_INLINE u32 weft_parse_reason(int parsed)
{
	switch (parsed) {
	case WEFT_PARSE_TOO_LARGE: return WEFT_REASON_HEAD_TOO_LARGE;
	case WEFT_PARSE_NOT_HTTP:
	case WEFT_PARSE_PREFACE: return WEFT_REASON_NOT_HTTP;
	case WEFT_PARSE_VERSION: return WEFT_REASON_HTTP_10;
	default: return WEFT_REASON_BAD_HEAD;
	}
}

#endif
