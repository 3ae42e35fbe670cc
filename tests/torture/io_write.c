// SPDX-License-Identifier: Apache-2.0
#include "io.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

enum {
	WAIT_MS = 500,
	BLOCKED_US = 900000,
	PIPE_MAX = 65536,
};

static void close_fd(int *fd)
{
	if (*fd >= 0)
		close(*fd);
}
#define _cleanup_fd_ __attribute__((cleanup(close_fd)))

static void wrote(struct io *io, ssize_t n, _Atomic uint64_t *written)
{
	atomic_fetch_add(written, (uint64_t)n);
	atomic_fetch_add(&io->beat->bytes_out, (uint64_t)n);
	atomic_store(&io->beat->at_ms, now_ms());
}

static int wait_edge_out(struct io *io)
{
	struct epoll_event event = {.events = EPOLLOUT | EPOLLET};

	if (io->edge_out < 0) {
		io->edge_out = epoll_create1(EPOLL_CLOEXEC);
		if (io->edge_out < 0 || epoll_ctl(io->edge_out, EPOLL_CTL_ADD, io->fd, &event))
			return -errno;
	}
	for (;;) {
		int r = epoll_wait(io->edge_out, &event, 1, WAIT_MS);

		if (r > 0)
			return 0;
		if (atomic_load(&io->given_up))
			return -ECANCELED;
	}
}

static int wait_writable(struct io *io)
{
	for (;;) {
		struct pollfd pfd = {.fd = io->fd, .events = POLLOUT};

		if (poll(&pfd, 1, WAIT_MS) > 0)
			return 0;
		if (atomic_load(&io->given_up))
			return -ECANCELED;
	}
}

/* Judges an EAGAIN of a blocking call that began at `start`: 0 to go on. */
static int blocked(struct io *io, uint64_t start)
{
	if (!io->sleeps)
		return wait_writable(io);
	if (atomic_load(&io->given_up))
		return -ECANCELED;
	if (now_us() - start >= BLOCKED_US)
		return 0;
	io->write_anomaly = "EAGAIN from a blocking write";
	return -EAGAIN;
}

static ssize_t send_once(struct io *io, const char *buf, size_t len, bool vector, int flags)
{
	size_t third = len / 3;
	struct iovec parts[3] = {
		{.iov_base = (char *)buf, .iov_len = third},
		{.iov_base = (char *)buf + third, .iov_len = third},
		{.iov_base = (char *)buf + 2 * third, .iov_len = len - 2 * third},
	};
	struct msghdr msg = {.msg_iov = parts, .msg_iovlen = 3};

	if (vector)
		return sendmsg(io->fd, &msg, flags);
	return send(io->fd, buf, len, flags);
}

static int write_simple(struct io *io, const char *buf, size_t len, enum write_mode mode, bool more, _Atomic uint64_t *written)
{
	bool is_edge = mode == WRITE_EDGE || mode == WRITE_EDGE_VECTOR;
	bool is_vector = mode == WRITE_VECTOR || mode == WRITE_EDGE_VECTOR;
	bool is_nonblocking = is_edge || mode == WRITE_POLL;
	int flags = (is_nonblocking ? MSG_DONTWAIT : 0) | (more && mode == WRITE_MORE ? MSG_MORE : 0);

	while (len > 0) {
		uint64_t start = now_us();
		ssize_t n = send_once(io, buf, len, is_vector, flags);
		int r;

		if (n >= 0) {
			wrote(io, n, written);
			buf += n;
			len -= (size_t)n;
			continue;
		}
		if (errno == EINTR)
			continue;
		if (errno != EAGAIN)
			return -errno;
		r = is_edge ? wait_edge_out(io) : is_nonblocking ? wait_writable(io) : blocked(io, start);
		if (r)
			return r;
	}
	return 0;
}

/* A new file each time: the socket holds its pages, not copies, for as long as the bytes are on their way. */
static int write_sendfile(struct io *io, const char *buf, size_t len, _Atomic uint64_t *written)
{
	_cleanup_fd_ int file = memfd_create("torture", MFD_CLOEXEC);
	off_t offset = 0;

	if (file < 0 || write(file, buf, len) != (ssize_t)len)
		return -EIO;
	while ((size_t)offset < len) {
		uint64_t start = now_us();
		ssize_t n = sendfile(io->fd, file, &offset, len - (size_t)offset);
		int r;

		if (n > 0) {
			wrote(io, n, written);
			continue;
		}
		if (n < 0 && errno == EINTR)
			continue;
		if (n == 0 || errno != EAGAIN)
			return n == 0 ? -EIO : -errno;
		r = blocked(io, start);
		if (r)
			return r;
	}
	return 0;
}

static int write_splice(struct io *io, const char *buf, size_t len, _Atomic uint64_t *written)
{
	_cleanup_fd_ int from = -1;
	_cleanup_fd_ int into = -1;
	int ends[2];

	if (pipe2(ends, O_CLOEXEC))
		return -errno;
	from = ends[0];
	into = ends[1];
	while (len > 0) {
		size_t left = len < PIPE_MAX ? len : PIPE_MAX;

		if (write(into, buf, left) != (ssize_t)left)
			return -EIO;
		buf += left;
		len -= left;
		while (left > 0) {
			uint64_t start = now_us();
			ssize_t n = splice(from, NULL, io->fd, NULL, left, len ? SPLICE_F_MORE : 0);
			int r;

			if (n > 0) {
				wrote(io, n, written);
				left -= (size_t)n;
				continue;
			}
			if (n < 0 && errno == EINTR)
				continue;
			if (n == 0 || errno != EAGAIN)
				return n == 0 ? -EIO : -errno;
			r = blocked(io, start);
			if (r)
				return r;
		}
	}
	return 0;
}

int io_write(struct io *io, const void *buf, size_t len, enum write_mode mode, bool more, _Atomic uint64_t *written)
{
	if (mode == WRITE_SENDFILE)
		return write_sendfile(io, buf, len, written);
	if (mode == WRITE_SPLICE)
		return write_splice(io, buf, len, written);
	return write_simple(io, buf, len, mode, more, written);
}
