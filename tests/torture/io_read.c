// SPDX-License-Identifier: Apache-2.0
#include "io.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

enum {
	WAIT_MS = 500,        /* how often a waiting thread looks whether it was given up */
	BLOCKED_US = 900000,  /* a blocking call that returns EAGAIN before its time-out (1 s) is an anomaly */
	PEEK_MAX = 16384,
};

/* Waits for readability; returns the events, or -ECANCELED. */
static int wait_readable(struct io *io)
{
	for (;;) {
		struct pollfd pfd = {.fd = io->fd, .events = POLLIN | POLLRDHUP};
		int r = poll(&pfd, 1, WAIT_MS);

		if (r > 0)
			return pfd.revents;
		if (atomic_load(&io->given_up))
			return -ECANCELED;
	}
}

static ssize_t read_block(struct io *io, void *buf, size_t len, int flags)
{
	for (;;) {
		uint64_t start = now_us();
		ssize_t r = recv(io->fd, buf, len, flags);

		if (r >= 0)
			return r;
		if (errno == EINTR)
			continue;
		if (errno != EAGAIN)
			return -errno;
		if (atomic_load(&io->given_up))
			return -ECANCELED;
		if (!io->sleeps) {
			int events = wait_readable(io);

			if (events < 0)
				return events;
			continue;
		}
		if (now_us() - start < BLOCKED_US && io->forgives_eagain) {
			atomic_fetch_add(&io->beat->forgiven, 1);
		} else if (now_us() - start < BLOCKED_US) {
			io->read_anomaly = "EAGAIN from a blocking read";
			return -EAGAIN;
		}
	}
}

static ssize_t receive_vector(struct io *io, void *buf, size_t len)
{
	size_t first = len / 3, second = len / 3;
	struct iovec parts[3] = {
		{.iov_base = buf, .iov_len = first},
		{.iov_base = (char *)buf + first, .iov_len = second},
		{.iov_base = (char *)buf + first + second, .iov_len = len - first - second},
	};
	struct msghdr msg = {.msg_iov = parts, .msg_iovlen = 3};

	return recvmsg(io->fd, &msg, MSG_DONTWAIT);
}

static ssize_t read_poll(struct io *io, void *buf, size_t len, bool vector)
{
	unsigned int spurious = 0;

	for (;;) {
		int events = wait_readable(io);
		ssize_t r;

		if (events < 0)
			return events;
		r = vector ? receive_vector(io, buf, len) : recv(io->fd, buf, len, MSG_DONTWAIT);
		if (r >= 0)
			return r;
		if (errno != EAGAIN && errno != EINTR)
			return -errno;
		/* A spurious readiness is allowed, but must not burn the processor that others need to make progress. */
		if (++spurious > 100)
			sleep_ms(1);
		if (atomic_load(&io->given_up))
			return -ECANCELED;
	}
}

static int wait_edge_in(struct io *io)
{
	struct epoll_event event = {.events = EPOLLIN | EPOLLRDHUP | EPOLLET};

	if (io->edge_in < 0) {
		io->edge_in = epoll_create1(EPOLL_CLOEXEC);
		if (io->edge_in < 0 || epoll_ctl(io->edge_in, EPOLL_CTL_ADD, io->fd, &event))
			return -errno;
	}
	for (;;) {
		int r = epoll_wait(io->edge_in, &event, 1, WAIT_MS);

		if (r > 0)
			return 0;
		if (atomic_load(&io->given_up))
			return -ECANCELED;
	}
}

static ssize_t read_edge(struct io *io, void *buf, size_t len)
{
	for (;;) {
		ssize_t r = recv(io->fd, buf, len, MSG_DONTWAIT);
		int w;

		if (r >= 0)
			return r;
		if (errno == EINTR)
			continue;
		if (errno != EAGAIN)
			return -errno;
		w = wait_edge_in(io);
		if (w)
			return w;
	}
}

static ssize_t read_fionread(struct io *io, void *buf, size_t len)
{
	for (;;) {
		int waiting = 0;
		int events;
		ssize_t r;

		if (ioctl(io->fd, FIONREAD, &waiting))
			return -errno;
		if (waiting > 0) {
			r = recv(io->fd, buf, (size_t)waiting < len ? (size_t)waiting : len, MSG_DONTWAIT);
			if (r >= 0)
				return r;
			if (errno != EAGAIN && errno != EINTR)
				return -errno;
			sleep_ms(1);
			if (atomic_load(&io->given_up))
				return -ECANCELED;
			continue;
		}
		events = wait_readable(io);
		if (events < 0)
			return events;
		/* Nothing counted: only the end of the stream or an error may make the socket readable now. */
		if (events & (POLLRDHUP | POLLHUP | POLLERR))
			return read_block(io, buf, len, 0);
		sleep_ms(1);
		if (atomic_load(&io->given_up))
			return -ECANCELED;
	}
}

static ssize_t read_peek(struct io *io, void *buf, size_t len)
{
	char peeked[PEEK_MAX];
	ssize_t seen, r;

	seen = read_block(io, peeked, len < PEEK_MAX ? len : PEEK_MAX, MSG_PEEK);
	if (seen <= 0)
		return seen;
	r = recv(io->fd, buf, (size_t)seen, MSG_DONTWAIT);
	if (r < 0) {
		if (errno == EAGAIN)
			io->read_anomaly = "bytes that MSG_PEEK showed were not there to read";
		return -errno;
	}
	if (r == 0 || memcmp(buf, peeked, (size_t)r) != 0) {
		io->read_anomaly = "MSG_PEEK showed other bytes than were read";
		return -EBADMSG;
	}
	return r;
}

ssize_t io_read(struct io *io, void *buf, size_t len, enum read_mode mode)
{
	ssize_t r;

	switch (mode) {
	case READ_POLL:
		r = read_poll(io, buf, len, false);
		break;
	case READ_VECTOR:
		r = read_poll(io, buf, len, true);
		break;
	case READ_EDGE:
		r = read_edge(io, buf, len);
		break;
	case READ_FIONREAD:
		r = read_fionread(io, buf, len);
		break;
	case READ_PEEK:
		r = read_peek(io, buf, len);
		break;
	case READ_BLOCK:
	case READ_BYTE:
	case READ_MODES:
	default:
		r = read_block(io, buf, len, 0);
		break;
	}
	if (r > 0) {
		atomic_fetch_add(&io->beat->bytes_in, (uint64_t)r);
		atomic_store(&io->beat->at_ms, now_ms());
	}
	return r;
}
