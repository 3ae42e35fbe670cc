/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only */
/* A redirect's response head as the kernel writes it: texts that the compiler has made, and between them what they leave to the request. */
#ifndef WEFT_LOCATION_H
#define WEFT_LOCATION_H

#include "weft/changes.h"

/* The client's bytes from `off` on. */
WEFT_INLINE void weft_location_take(struct weft_change *change, const struct weft_head_bytes *bytes, u32 off, u32 len)
{
	change->read = off;
	weft_change_keep(change, bytes, off + len);
}

/* The request's host, or what of it stays. */
WEFT_STAGE int weft_location_host(struct weft_change *change, const struct weft_head_bytes *bytes, const struct weft_head *head, u32 flags)
{
	u32 off, len, host_len, port, drops;

	if (!change || !bytes || !head)
		return 0;
	off = head->authority.off;
	len = head->authority.len;
	host_len = WEFT_MIN(head->host_len, len);
	port = WEFT_OFFSET(off + host_len);
	drops = flags & (head->flags & WEFT_HEAD_FORWARDED_HTTPS ? WEFT_LOCATION_DROPS_443 : WEFT_LOCATION_DROPS_80);
	if (flags & WEFT_LOCATION_DROPS_PORT)
		len = host_len;
	else if (drops == WEFT_LOCATION_DROPS_80 && len - host_len == 3 && bytes->data[port + 1] == '8' && bytes->data[port + 2] == '0')
		len = host_len;
	else if (drops == WEFT_LOCATION_DROPS_443 && len - host_len == 4 && weft_load4(bytes->data + port) == WEFT_TEXT4(':', '4', '4', '3'))
		len = host_len;
	weft_location_take(change, bytes, off, len);
	return 0;
}

/* Writes what stands before date and blank line, by struct weft_location `ref` of the route image. Returns its length, or 0: it would be too
 * long. For heads that weft_head_reason lets pass. */
WEFT_STAGE u32 weft_location_head(struct weft_change *change, const struct weft_route_query *query, const struct weft_head_bytes *bytes,
				  const struct weft_head *head, weft_ref ref)
{
	const struct weft_location *location;
	struct weft_cursor cursor = {};
	u32 flags, matched, path_end, target_end;
	weft_ref between, after;

	if (!change || !query || !bytes || !head)
		return 0;
	location = WEFT_OBJECT(weft_location, &query->image, &cursor, ref);
	if (!location)
		return 0;
	flags = location->flags;
	matched = WEFT_MIN(location->matched_len, head->path.len);
	between = location->between;
	after = location->after;
	change->written = 0;
	change->is_full = 0;
	weft_change_text(change, query, head->flags & WEFT_HEAD_FORWARDED_HTTPS ? location->before_https : location->before);
	if (flags & WEFT_LOCATION_HOST)
		weft_location_host(change, bytes, head, flags);
	if (between)
		weft_change_text(change, query, between);
	if (flags & WEFT_LOCATION_TAKES_SLASH && matched < head->path.len && bytes->data[WEFT_OFFSET(head->path.off + matched)] == '/')
		matched++;
	path_end = head->path.off + head->path.len;
	target_end = head->target.off + head->target.len;
	if (flags & WEFT_LOCATION_PATH)
		weft_location_take(change, bytes, head->path.off + matched, head->path.len - matched);
	if (flags & WEFT_LOCATION_QUERY && target_end > path_end)
		weft_location_take(change, bytes, path_end, target_end - path_end);
	weft_change_text(change, query, after);
	return change->is_full ? 0 : change->written;
}

#endif
