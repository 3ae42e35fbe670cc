/* SPDX-License-Identifier: Apache-2.0 */
/* What served last, on disk: a file a scope, read at the start and used until the server answers.
 *
 * A file is written anew as a whole, brought to the disk and then renamed into place, so a power cut leaves the former one or the new one; it ends in a
 * checksum, and what does not match it is set aside. A thread waits for the disk: the caller's loop goes on. */
#ifndef WEFT_XDS_CACHE_H
#define WEFT_XDS_CACHE_H

#include <stdbool.h>
#include <stdint.h>

#include "xds/scope.h"

#define XDS_CACHE_MAX (64u << 20) /* bytes of a file */

struct xds_cache_job;

/* Begins to write FOLDER/NAME.xds, with what serves now; the folder is made when it is not there. Only one job a scope at a time. */
int xds_cache_begin(struct xds_cache_job **out, const char *folder, const struct xds_scope *scope, uint64_t unix_ms);
bool xds_cache_is_done(const struct xds_cache_job *job);
/* Waits until it is done, and frees it: 0 for NULL. -EFBIG past XDS_CACHE_MAX (a former file is removed then: it would be older than it looks); -errno. */
int xds_cache_end(struct xds_cache_job **job);
/* Both in one. */
int xds_cache_write(const char *folder, const struct xds_scope *scope, uint64_t unix_ms);

/* Puts what the file holds into the scope and publishes it; `unix_ms`: when it was written. -ENOENT: there is none. -EBADMSG: it is damaged, and was
 * renamed to NAME.xds.damaged. */
int xds_cache_read(const char *folder, struct xds_scope *scope, uint64_t now_ms, uint64_t *unix_ms);

#endif
