/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only */
/* Why the head of a request, or what the parser says of it, makes it the proxy's. */
#ifndef WEFT_FAST_H
#define WEFT_FAST_H

#include "weft/base.h"
#include "weft/head.h"
#include "weft/image.h"
#include "weft/reason.h"

/* Would a listener of these flags change the target, or refuse it? */
WEFT_INLINE bool weft_target_changes(u32 head_flags, u32 listener_flags)
{
	u32 changes = WEFT_HEAD_FRAGMENT;

	if (listener_flags & WEFT_LISTENER_NORMALIZE_PATH)
		changes |= WEFT_HEAD_NORMALIZES;
	if (listener_flags & WEFT_LISTENER_MERGE_SLASHES)
		changes |= WEFT_HEAD_SLASHES;
	if (listener_flags & (WEFT_LISTENER_UNESCAPE_SLASHES | WEFT_LISTENER_REJECT_SLASHES))
		changes |= WEFT_HEAD_ESCAPED_SLASHES;
	return head_flags & changes;
}

/* Why a request is the proxy's whatever its route: WEFT_REASON_NONE if it is not. */
WEFT_INLINE u32 weft_head_reason(const struct weft_head *head, u32 listener_flags)
{
	u32 flags = head->flags;

	if (!(flags & WEFT_REQUEST_PROXY_ONLY)) {
		if (weft_target_changes(flags, listener_flags))
			return WEFT_REASON_NORMALIZES;
		return WEFT_REASON_NONE;
	}
	if (flags & WEFT_HEAD_CHUNKED)
		return WEFT_REASON_CHUNKED_REQUEST;
	if (flags & (WEFT_HEAD_CLOSE | WEFT_HEAD_CONNECTION_OTHER))
		return WEFT_REASON_CONNECTION_CLOSE;
	if (flags & WEFT_HEAD_UPGRADE)
		return WEFT_REASON_UPGRADE;
	if (flags & (WEFT_HEAD_EXPECT_CONTINUE | WEFT_HEAD_EXPECT_OTHER))
		return WEFT_REASON_EXPECT;
	if (flags & WEFT_HEAD_GRPC)
		return WEFT_REASON_GRPC;
	if (flags & WEFT_HEAD_HTTP_10)
		return WEFT_REASON_HTTP_10;
	if (flags & (WEFT_HEAD_ABSOLUTE_OTHER | WEFT_HEAD_ASTERISK | WEFT_HEAD_CONNECT))
		return WEFT_REASON_ABSOLUTE_FORM;
	if (weft_target_changes(flags, listener_flags))
		return WEFT_REASON_NORMALIZES;
	return flags & WEFT_HEAD_ODD ? WEFT_REASON_ODD_HEAD : WEFT_REASON_PRIVATE_HEADER;
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
