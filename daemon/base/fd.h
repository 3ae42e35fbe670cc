/* SPDX-License-Identifier: Apache-2.0 */
/* File descriptors: flags, whole reads and writes. Everything returns 0 or -errno unless it says otherwise. */
#ifndef WEFT_BASE_FD_H
#define WEFT_BASE_FD_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include "base/strbuf.h"

int fd_set_nonblocking(int fd, bool nonblocking);
int fd_set_cloexec(int fd, bool cloexec);

/* A pipe or a terminal, from here on without waiting for who reads it: the same number leads to an open file of its own, for others who have the former one may
 * want to wait. What is neither of them stays as it is. */
int fd_write_without_waiting(int fd);

/* Writes all of it, however many calls that takes (EINTR and short writes; the descriptor must block). */
int fd_write_all(int fd, const void *bytes, size_t size);

/* Reads to the end. -EFBIG when there is more than `limit_bytes`; what was read so far is then in `out`. */
int fd_read_all(int fd, size_t limit_bytes, struct strbuf *out);

/* A whole file. -EISDIR for a folder, -EFBIG past the limit. */
int file_read(const char *path, size_t limit_bytes, struct strbuf *out);
/* The same, and it never waits for somebody else: -ENODEV for a pipe or a device. -ENXIO for a socket. */
int file_read_regular(const char *path, size_t limit_bytes, struct strbuf *out);

struct sockaddr_un;
/* -ENAMETOOLONG. */
int socket_address(const char *path, struct sockaddr_un *out);
/* Does somebody accept connections at this unix socket? */
bool socket_is_served(const char *path);
/* A unix socket that listens there, non-blocking, mode 0600 from its first moment on; one that nobody serves any more is replaced. `type`: SOCK_STREAM,
 * SOCK_SEQPACKET. -EADDRINUSE: somebody answers there. -EEXIST: what is there is no socket, and stays. */
int socket_listen(const char *path, int type, int backlog, int *fd);

/* Writes a file by way of a temporary one and rename(2): readers see the old content or the new, never a part. */
int file_write_atomic(const char *path, const void *bytes, size_t size, mode_t mode);

#endif
