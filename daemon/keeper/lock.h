/* SPDX-License-Identifier: Apache-2.0 */
/* One weftd for one folder of pins: two would detach each other's programs. */
#ifndef WEFT_KEEPER_LOCK_H
#define WEFT_KEEPER_LOCK_H

#include <sys/types.h>

#define LOCK_FOLDER "/run/weft"

/* Takes the lock of the pin folder `bpffs`: a file in `folder` (made if missing) that holds this process's id. The lock lives as long as the
 * descriptor is open in any process, so a worker that outlives its keeper still holds it. Returns 0 and the descriptor; -EBUSY and in
 * `holder` who has it (0: could not be read); or -errno. */
int lock_take(const char *folder, const char *bpffs, int *fd, pid_t *holder);

/* Releases it and removes its file. */
void lock_give(const char *folder, const char *bpffs, int *fd);

#endif
