/* SPDX-License-Identifier: Apache-2.0 */
/* What must be true of this machine and this process before anything else is worth trying. */
#ifndef WEFT_KEEPER_PREFLIGHT_H
#define WEFT_KEEPER_PREFLIGHT_H

#include <stdbool.h>
#include <stdint.h>

#include "base/strbuf.h"

/* Names of the capabilities that weftd needs and `effective` (a mask as in /proc/self/status) lacks: "CAP_BPF, CAP_NET_ADMIN". */
int preflight_missing(uint64_t effective, struct strbuf *names);
/* 0 and the mask of this process. */
int preflight_capabilities(uint64_t *effective);

/* Where cgroup v2 is mounted, read from a file in the form of /proc/mounts. -ENOENT: nowhere. */
int preflight_cgroup2(const char *mounts, struct strbuf *path);

/* The cgroup v2 folder for the worker: `wanted`, or `weft` below the one this process is in (below `mount`). */
int preflight_worker_cgroup(const char *mount, const char *self_cgroup, const char *wanted, struct strbuf *path);

/* Whether `path` is `folder` or lies in it, by whatever way both are written, and whether they are there already or not. */
bool preflight_is_inside(const char *path, const char *folder);
/* Whether `path` is in a BPF file system, or would be if it were made. */
bool preflight_is_on_bpffs(const char *path);

/* As many descriptors as the kernel allows, up to `wanted`; returns how many. */
uint32_t preflight_descriptors(uint32_t wanted);

#endif
