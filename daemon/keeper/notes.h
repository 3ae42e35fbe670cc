/* SPDX-License-Identifier: Apache-2.0 */
/* What the file of the node's lock says of who holds it, for whoever clears away after a kill. */
#ifndef WEFT_KEEPER_NOTES_H
#define WEFT_KEEPER_NOTES_H

#include <limits.h>
#include <sys/types.h>

#include "keeper/options.h"

/* Where the weftd that is to follow asks. */
void notes_succession_path(const struct options *options, char path[PATH_MAX]);

/* Makes `keeper` the lock's holder, and notes its sockets and the cgroup that it makes. */
int notes_sign(int lock_fd, pid_t keeper, const struct options *options, const char *own_cgroup);

#endif
