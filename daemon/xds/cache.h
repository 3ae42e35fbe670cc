/* SPDX-License-Identifier: Apache-2.0 */
/* What served last, on disk: a file a scope, read at the start and used until the server answers.
 *
 * A file is written anew as a whole and renamed into place; it ends in a checksum. It is not waited for until the disk has it: what a power cut leaves
 * half-written does not match its checksum, and is set aside. */
#ifndef WEFT_XDS_CACHE_H
#define WEFT_XDS_CACHE_H

#include <stdint.h>

#include "xds/scope.h"

#define XDS_CACHE_MAX (64u << 20) /* bytes of a file */

/* FOLDER/NAME.xds; the folder is made when it is not there. -EFBIG past XDS_CACHE_MAX (a former file is removed then: it would be older than it looks);
 * -errno. */
int xds_cache_write(const char *folder, const struct xds_scope *scope, uint64_t unix_ms);

/* Puts what the file holds into the scope and publishes it; `unix_ms`: when it was written. -ENOENT: there is none. -EBADMSG: it is damaged, and was
 * renamed to NAME.xds.damaged. */
int xds_cache_read(const char *folder, struct xds_scope *scope, uint64_t now_ms, uint64_t *unix_ms);

#endif
