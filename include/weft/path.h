/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only */
/* Path normalisation as Envoy 1.40 does it before any match (host only). The kernel does none: a head whose target
 * normalisation could change or refuse has WEFT_HEAD_NORMALIZES (or WEFT_HEAD_SLASHES) and is the proxy's. */
#ifndef WEFT_PATH_H
#define WEFT_PATH_H

#include "weft/base.h"
#include "weft/image.h"

#ifndef __bpf__
/* Room that any target of `len` bytes fits in once normalised, with the slack that the router wants. */
#define WEFT_PATH_ROOM(len) ((len) * 3u + 8u)

/* Normalises `target` (path, query, fragment: origin form) as a listener with `listener_flags` does: the fragment is cut in any
 * case; the path is rewritten if WEFT_LISTENER_NORMALIZE_PATH, `//` merged if WEFT_LISTENER_MERGE_SLASHES; the query stays. Writes
 * path and query to `out`, whole length to *out_len, the path's to *path_len. Returns 0, -EINVAL (400: %00) or -ENOSPC. */
static inline int weft_path_normalize(const u8 *target, u32 len, u32 listener_flags, u8 *out, u32 room, u32 *out_len, u32 *path_len);

static inline int weft_path_normalize(const u8 *target, u32 len, u32 listener_flags, u8 *out, u32 room, u32 *out_len, u32 *path_len)
{
	return -EINVAL;
}
#endif

#endif
