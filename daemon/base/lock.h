/* SPDX-License-Identifier: Apache-2.0 */
/* One weftd for one folder of pins: two would detach each other's programs. The lock's file also says what its holder made outside of that
 * folder, for whoever clears away after a kill. */
#ifndef WEFT_BASE_LOCK_H
#define WEFT_BASE_LOCK_H

#include <stdbool.h>
#include <sys/types.h>

#include "base/strbuf.h"

#define LOCK_FOLDER "/run/weft"

/* Takes the lock of the pin folder `bpffs`: a file in `folder` (made if missing) that holds this process's id. What a former holder noted
 * stays until lock_sign(). The lock lives as long as the descriptor is open in any process, so a worker that outlives its keeper still
 * holds it. Returns 0 and the descriptor; -EBUSY and in `holder` who has it (0: could not be read); or -errno. */
int lock_take(const char *folder, const char *bpffs, int *fd, pid_t *holder);

/* Who holds it, if anybody; 0: nobody, or who has not signed yet. Makes and takes nothing. */
pid_t lock_holder(const char *folder, const char *bpffs);

/* Whether somebody noted anything under `key`: of a lock that another one holds. */
bool lock_is_noted(const char *folder, const char *bpffs, const char *key);

/* Makes `holder` the process that the file names, with nothing noted. */
int lock_sign(int fd, pid_t holder);
/* Adds a line "`key` `value`" to the file. */
int lock_note(int fd, const char *key, const char *value);
/* Values that some holder noted under `key`, one a line, are appended to `out`; nothing if there are none. */
int lock_notes(int fd, const char *key, struct strbuf *out);
/* All that it says, appended to `out`; and the other way round, for who has signed in vain. */
int lock_text(int fd, struct strbuf *out);
int lock_set_text(int fd, const struct strbuf *text);

/* Removes the file, then releases the lock. */
void lock_give(const char *folder, const char *bpffs, int *fd);

#endif
