/* SPDX-License-Identifier: Apache-2.0 */
/* One socket read and written in the ways in which real programs do it. Shared by client and server; each connection has one
 * `struct io`, used by at most one reading and one writing thread. */
#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

enum read_mode {
	READ_BLOCK,    /* recv in a blocking socket */
	READ_POLL,     /* poll, then recv without waiting */
	READ_EDGE,     /* edge-triggered epoll, read until EAGAIN */
	READ_FIONREAD, /* wait until FIONREAD > 0, then read that many (nginx, Java, .NET) */
	READ_PEEK,     /* MSG_PEEK, then the same bytes for good */
	READ_BYTE,     /* the first few hundred bytes one by one */
	READ_VECTOR,   /* recvmsg with three buffers */
	READ_MODES,
};

enum write_mode {
	WRITE_BLOCK,
	WRITE_POLL,
	WRITE_EDGE,        /* edge-triggered epoll: after EAGAIN nothing is tried before EPOLLOUT came */
	WRITE_VECTOR,      /* sendmsg with three buffers */
	WRITE_EDGE_VECTOR,
	WRITE_SENDFILE,
	WRITE_SPLICE,      /* from a pipe */
	WRITE_MORE,        /* MSG_MORE on a head whose body follows */
	WRITE_MODES,
};

/* What a watchdog looks at. `at_ms` is when bytes last moved, or lies in the future while a scheduled pause lasts. */
struct beat {
	_Atomic uint64_t at_ms;
	_Atomic uint64_t bytes_in;
	_Atomic uint64_t bytes_out;
	_Atomic uint64_t forgiven; /* anomalies, where they are */
	_Atomic(const char *) reading; /* what the reading thread is at; literals only */
	_Atomic(const char *) writing;
};

struct io {
	int fd;
	int edge_in; /* epoll instances of their own: an EPOLLIN must not hide that an EPOLLOUT was never sent */
	int edge_out;
	struct beat *beat;
	atomic_bool given_up; /* set by a watchdog: every call returns -ECANCELED soon */
	bool sleeps; /* its program's reads and writes block; without, the socket has O_NONBLOCK, and what the calls can't do is polled for */
	bool forgives_eagain; /* a blocking call that returns EAGAIN at once is made again, as no program would do */
	const char *read_anomaly; /* what the kernel did that it must not do, a literal; NULL if nothing */
	const char *write_anomaly;
};

uint64_t now_ms(void);
uint64_t now_us(void);
void sleep_ms(uint64_t ms);

/* Takes `fd` over and prepares it: one second of time-out in blocking calls, so that given_up is noticed; O_NONBLOCK where nobody sleeps. */
void io_open(struct io *io, int fd, struct beat *beat, bool sleeps);

/* Closes; with `reset` the peer gets a RST. */
void io_close(struct io *io, bool reset);

/* A scheduled pause: the watchdog knows of it. */
void io_pause(struct io *io, uint64_t ms);

/* More than 0 bytes, 0 at the end of the stream, or -errno. -EAGAIN means that a blocking call returned it (an anomaly). */
ssize_t io_read(struct io *io, void *buf, size_t len, enum read_mode mode);

/* 0 or -errno; `*written` grows as bytes are accepted. `more` says that the same message goes on (for WRITE_MORE). */
int io_write(struct io *io, const void *buf, size_t len, enum write_mode mode, bool more, _Atomic uint64_t *written);
