/* SPDX-License-Identifier: Apache-2.0 */
/* The folder of pins on a BPF file system (--bpffs). What a daemon pins lies in a folder of its own in there, named by the version of the
 * ABI: one that is replaced by another version drains beside it. */
#ifndef WEFT_BASE_PINS_H
#define WEFT_BASE_PINS_H

#include <limits.h>
#include <stdint.h>

#define PINS_PREFIX "abi-"

/* Where version `abi` pins. -ENAMETOOLONG. */
int pins_path(const char *dir, unsigned abi, char path[PATH_MAX]);
/* What tells version `abi`'s folder from others, by whatever path it is reached; 0: it isn't there. */
uint64_t pins_identity(const char *dir, unsigned abi);

/* Makes version `abi`'s folder, and `dir`, an absolute path, on a BPF file system: one is mounted where there is none. */
int pins_make(const char *dir, unsigned abi);
/* Unpins everything in a version's folder and removes it; links that nobody else holds detach with that. 0 also when it isn't there. */
int pins_remove(const char *path);

/* Calls `fn` for each version's folder in `dir`; the last error is returned. The folder may be removed by it. */
int pins_each(const char *dir, int (*fn)(void *arg, const char *path), void *arg);
/* All of them, then `dir` itself if it is empty, and a BPF file system that was mounted there. */
int pins_remove_all(const char *dir);

#endif
