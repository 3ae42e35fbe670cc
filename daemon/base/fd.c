/* SPDX-License-Identifier: Apache-2.0 */
#include "base/fd.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/cleanup.h"

#define READ_CHUNK_BYTES ((size_t)64 * 1024)

int fd_set_nonblocking(int fd, bool nonblocking)
{
	int flags = fcntl(fd, F_GETFL);

	if (flags < 0)
		return -errno;
	flags = nonblocking ? flags | O_NONBLOCK : flags & ~O_NONBLOCK;
	return fcntl(fd, F_SETFL, flags) < 0 ? -errno : 0;
}

int fd_set_cloexec(int fd, bool cloexec)
{
	int flags = fcntl(fd, F_GETFD);

	if (flags < 0)
		return -errno;
	flags = cloexec ? flags | FD_CLOEXEC : flags & ~FD_CLOEXEC;
	return fcntl(fd, F_SETFD, flags) < 0 ? -errno : 0;
}

int fd_write_without_waiting(int fd)
{
	_cleanup_close_ int own = -1;
	char path[32];
	struct stat info;

	if (fstat(fd, &info) < 0)
		return -errno;
	if (!S_ISFIFO(info.st_mode) && !isatty(fd))
		return 0;
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	own = open(path, O_WRONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
	if (own < 0)
		return -errno;
	return dup3(own, fd, 0) < 0 ? -errno : 0;
}

int fd_write_all(int fd, const void *bytes, size_t size)
{
	const char *at = bytes;

	while (size) {
		ssize_t n = write(fd, at, size);

		if (n < 0) {
			if (errno == EINTR)
				continue;
			return -errno;
		}
		at += n;
		size -= (size_t)n;
	}
	return 0;
}

int fd_read_all(int fd, size_t limit_bytes, struct strbuf *out)
{
	size_t start = out->size;

	for (;;) {
		ssize_t n;
		int r;

		r = strbuf_reserve(out, READ_CHUNK_BYTES);
		if (r)
			return r;
		n = read(fd, out->data + out->size, READ_CHUNK_BYTES);
		if (n < 0) {
			if (errno == EINTR)
				continue;
			return -errno;
		}
		if (n == 0)
			return 0;
		out->size += (size_t)n;
		out->data[out->size] = '\0';
		if (out->size - start > limit_bytes) {
			strbuf_truncate(out, start + limit_bytes);
			return -EFBIG;
		}
	}
}

int file_read(const char *path, size_t limit_bytes, struct strbuf *out)
{
	_cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC);

	if (fd < 0)
		return -errno;
	return fd_read_all(fd, limit_bytes, out);
}

int file_read_regular(const char *path, size_t limit_bytes, struct strbuf *out)
{
	_cleanup_close_ int fd = open(path, O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
	struct stat info;

	if (fd < 0 || fstat(fd, &info) < 0)
		return -errno;
	if (!S_ISREG(info.st_mode) && !S_ISDIR(info.st_mode))
		return -ENODEV;
	return fd_read_all(fd, limit_bytes, out);
}

int file_write_atomic(const char *path, const void *bytes, size_t size, mode_t mode)
{
	_cleanup_(strbuf_release) struct strbuf temporary = STRBUF_INIT;
	_cleanup_close_ int fd = -1;
	int r;

	r = strbuf_printf(&temporary, "%s.XXXXXX", path);
	if (r)
		return r;
	fd = mkostemp(temporary.data, O_CLOEXEC);
	if (fd < 0)
		return -errno;

	if (fchmod(fd, mode) < 0)
		r = -errno;
	if (!r)
		r = fd_write_all(fd, bytes, size);
	if (!r && fsync(fd) < 0)
		r = -errno;
	if (!r && rename(temporary.data, path) < 0)
		r = -errno;
	if (r)
		unlink(temporary.data);
	return r;
}

int socket_address(const char *path, struct sockaddr_un *out)
{
	*out = (struct sockaddr_un){ .sun_family = AF_UNIX };
	if (strlen(path) >= sizeof(out->sun_path))
		return -ENAMETOOLONG;
	memcpy(out->sun_path, path, strlen(path));
	return 0;
}

static int try_to_connect(const char *path, int type)
{
	_cleanup_close_ int fd = socket(AF_UNIX, type | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	struct sockaddr_un address;
	int r = socket_address(path, &address);

	if (r)
		return r;
	return fd >= 0 && connect(fd, (const struct sockaddr *)&address, sizeof(address)) == 0 ? 0 : -errno;
}

bool socket_is_served(const char *path)
{
	int r = try_to_connect(path, SOCK_STREAM);

	if (r == -EPROTOTYPE)
		r = try_to_connect(path, SOCK_SEQPACKET);
	/* A full queue (EAGAIN) has somebody behind it too. */
	return r == 0 || r == -EAGAIN;
}

int socket_listen(const char *path, int type, int backlog, int *out)
{
	_cleanup_close_ int fd = -1;
	struct sockaddr_un address;
	struct stat info;
	mode_t mask;
	int r;

	r = socket_address(path, &address);
	if (r)
		return r;
	if (socket_is_served(path))
		return -EADDRINUSE;
	/* A path that was given by mistake must not cost anybody a file. */
	if (lstat(path, &info) == 0 && !S_ISSOCK(info.st_mode))
		return -EEXIST;
	if (unlink(path) < 0 && errno != ENOENT)
		return -errno;
	fd = socket(AF_UNIX, type | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return -errno;
	/* The mode must be right from the first moment on. */
	mask = umask(0177);
	r = bind(fd, (struct sockaddr *)&address, sizeof(address)) < 0 ? -errno : 0;
	umask(mask);
	if (r || listen(fd, backlog) < 0)
		return r ? r : -errno;
	*out = TAKE_FD(fd);
	return 0;
}
