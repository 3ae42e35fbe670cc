/* SPDX-License-Identifier: Apache-2.0 */
/* The folder of pins on a BPF file system (--bpffs). What a daemon pins lies in a folder of its own in there, named by version and layout of the
 * ABI: one that is replaced by another ABI drains beside it. Who drains holds the lock (base/lock.h) of its own folder; of the others, one that nobody
 * has locked is what a killed weftd has left. */
#ifndef WEFT_BASE_PINS_H
#define WEFT_BASE_PINS_H

#include <limits.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#define PINS_PREFIX "abi-"
#define PINS_NOTE_BEGINS "begins" /* in the lock's file: who holds it has not served yet */

/* Where `abi` pins: the version in its lower half, the layout in the upper one. -ENAMETOOLONG. */
int pins_path(const char *dir, uint64_t abi, char path[PATH_MAX]);
/* What tells `abi`'s folder from others, by whatever path it is reached; 0: it isn't there. */
uint64_t pins_identity(const char *dir, uint64_t abi);

bool pins_is_bpffs(const char *path);
/* Where a BPF file system is mounted for `dir` if it is on none: `dir` itself, or what it lies in. */
const char *pins_place(const char *dir);
/* Makes `abi`'s folder, and `dir`, an absolute path, on a BPF file system: one is mounted where there is none. */
int pins_make(const char *dir, uint64_t abi);
/* Unpins everything in an ABI's folder and removes it; links that nobody else holds detach with that. 0 also when it isn't there. */
int pins_remove(const char *path);
/* What is in there alone. */
int pins_empty(const char *path);
/* Likewise by who holds its lock: emptied, unlocked, removed, so that whoever is killed in between leaves a folder that tells of it. */
int pins_remove_locked(const char *path, int *lock_fd);
/* The process that drains what is pinned in `path`, or that begins there; 0: nobody does. */
pid_t pins_drainer(const char *path);
/* Of these two it is the second one. */
bool pins_begins(const char *path);

/* Calls `fn` for each ABI's folder in `dir`; the last error is returned. The folder may be removed by it. */
int pins_each(const char *dir, int (*fn)(void *arg, const char *path), void *arg);
/* What nobody drains, in folders other than `own`, with what else its weftd has left. */
int pins_remove_left(const char *dir, const char *own);
/* `dir` itself, unless anything is in it, or mounted there. */
void pins_remove_folder(const char *dir);
/* All that nobody drains, then `dir` itself if it is empty, and a BPF file system that was mounted there. */
int pins_remove_all(const char *dir);

#endif
