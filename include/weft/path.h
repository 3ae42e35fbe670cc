/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only */
/* Path normalisation as Envoy 1.40 does it before any match (host only). The kernel does none: a head whose target
 * normalisation could change or refuse is told by the head's flags (weft_target_changes) and is the proxy's. */
#ifndef WEFT_PATH_H
#define WEFT_PATH_H

#include "weft/base.h"
#include "weft/image.h"

#ifndef __bpf__
#include "weft/target.h"

/* Room that any target of `len` bytes fits in once normalised, with the slack that the router wants. */
#define WEFT_PATH_ROOM(len) ((len) * 3u + 16u)

/* Makes %2F a slash and %5C a backslash. Returns the length; *found says whether there was one. `out` may be anywhere before `path`. */
static inline u32 weft_path_unescape_slashes(const u8 *path, u32 len, u8 *out, bool *found)
{
	u32 i, n = 0;

	*found = false;
	for (i = 0; i < len; i++) {
		u32 value = path[i] == '%' && i + 2 < len ? weft_hex(path[i + 1]) << 4 | weft_hex(path[i + 2]) : 0;

		if (value == '/' || value == '\\') {
			*found = true;
			i += 2;
		} else {
			value = path[i];
		}
		out[n++] = value;
	}
	return n;
}

/* Decodes escapes of unreserved characters, escapes what a URL must not hold raw, turns backslashes. Returns the length, or -EINVAL
 * for %00. `path` may lie in `out`, 2 * len bytes behind its begin or more. */
static inline int weft_path_rewrite(const u8 *path, u32 len, u8 *out)
{
	static const u8 digits[] = "0123456789ABCDEF";
	u32 i, n = 0;

	for (i = 0; i < len; i++) {
		u8 byte = path[i];

		if (byte == '%' && i + 2 < len && weft_hex(path[i + 1]) < 16 && weft_hex(path[i + 2]) < 16) {
			u8 value = weft_hex(path[i + 1]) << 4 | weft_hex(path[i + 2]);

			if (!value)
				return -EINVAL;
			if (weft_in_set(value, WEFT_DECODED_LOW, WEFT_DECODED_HIGH)) {
				out[n++] = value;
			} else {
				memcpy(out + n, path + i, 3);
				n += 3;
			}
			i += 2;
		} else if (byte == '\\') {
			out[n++] = '/';
		} else if (weft_in_set(byte, WEFT_REWRITTEN_LOW, WEFT_REWRITTEN_HIGH)) {
			out[n++] = '%';
			out[n++] = digits[byte >> 4];
			out[n++] = digits[byte & 15];
		} else {
			out[n++] = byte;
		}
	}
	return n;
}

/* Removes `.` and `..` segments in place; `path` begins with a slash. An empty segment is a segment; what ended in a dot segment ends
 * in a slash. */
static inline u32 weft_path_remove_dots(u8 *path, u32 len)
{
	u32 from = 0, to = 0;

	while (from < len) {
		u32 end = from + 1, segment_len;

		while (end < len && path[end] != '/')
			end++;
		segment_len = end - from - 1;
		if (segment_len == 1 && path[from + 1] == '.') {
			if (end == len)
				path[to++] = '/';
		} else if (segment_len == 2 && path[from + 1] == '.' && path[from + 2] == '.') {
			while (to > 0 && path[--to] != '/')
				;
			if (end == len)
				path[to++] = '/';
		} else {
			memmove(path + to, path + from, end - from);
			to += end - from;
		}
		from = end;
	}
	if (!to)
		path[to++] = '/';
	return to;
}

/* Envoy joins the segments that are not empty and keeps a slash at either end: a path of slashes alone becomes `//`. */
static inline u32 weft_path_merge_slashes(u8 *path, u32 len)
{
	u32 from, to = 0;

	for (from = 0; from < len; from++)
		if (path[from] != '/' || !to || path[to - 1] != '/')
			path[to++] = path[from];
	if (to == 1 && len > 1)
		path[to++] = '/';
	return to;
}

/* Normalises `target` (path, query, fragment: origin form, or empty) as a listener with `listener_flags` does: the fragment is cut in
 * any case; escaped slashes are decoded if WEFT_LISTENER_UNESCAPE_SLASHES, the path is rewritten if WEFT_LISTENER_NORMALIZE_PATH, `//`
 * merged if WEFT_LISTENER_MERGE_SLASHES, in this order; the query stays. Writes path and query to `out` (WEFT_PATH_ROOM(len) bytes
 * suffice), the whole length to *out_len, the path's to *path_len. Returns 0, -EINVAL (400: %00, or escaped slashes that
 * WEFT_LISTENER_REJECT_SLASHES refuses) or -ENOSPC. */
static inline int weft_path_normalize(const u8 *target, u32 len, u32 listener_flags, u8 *out, u32 room, u32 *out_len, u32 *path_len)
{
	const u8 *path = target;
	u32 path_end = 0, query_end = 0, from_len;
	bool has_slashes;
	int n;

	if (len > 0x10000000u || room < WEFT_PATH_ROOM(len))
		return -ENOSPC;
	while (query_end < len && target[query_end] != '#')
		query_end++;
	while (path_end < query_end && target[path_end] != '?')
		path_end++;
	from_len = path_end;
	if (listener_flags & (WEFT_LISTENER_UNESCAPE_SLASHES | WEFT_LISTENER_REJECT_SLASHES)) {
		path = out + 2 * path_end;
		from_len = weft_path_unescape_slashes(target, path_end, out + 2 * path_end, &has_slashes);
		if (has_slashes && (listener_flags & WEFT_LISTENER_REJECT_SLASHES))
			return -EINVAL;
	}
	if (!path_end) {
		out[0] = '/';
		n = 1;
	} else if (listener_flags & WEFT_LISTENER_NORMALIZE_PATH) {
		n = weft_path_rewrite(path, from_len, out);
		if (n < 0)
			return n;
		if (out[0] == '/')
			n = weft_path_remove_dots(out, n);
	} else {
		memmove(out, path, from_len);
		n = from_len;
	}
	if (listener_flags & WEFT_LISTENER_MERGE_SLASHES)
		n = weft_path_merge_slashes(out, n);
	memcpy(out + n, target + path_end, query_end - path_end);
	*path_len = n;
	*out_len = n + query_end - path_end;
	memset(out + *out_len, 0, 8);
	return 0;
}
#endif

#endif
