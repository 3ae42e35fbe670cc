// SPDX-License-Identifier: Apache-2.0
/* What is common to reading and writing a socket in many ways; io_read.c and io_write.c have the ways. */
#include "io.h"

#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

uint64_t now_us(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000 + (uint64_t)ts.tv_nsec / 1000;
}

uint64_t now_ms(void)
{
	return now_us() / 1000;
}

void sleep_ms(uint64_t ms)
{
	struct timespec ts = {.tv_sec = (time_t)(ms / 1000), .tv_nsec = (long)(ms % 1000) * 1000000};

	nanosleep(&ts, NULL);
}

void io_open(struct io *io, int fd, struct beat *beat, bool sleeps)
{
	struct timeval one_second = {.tv_sec = 1};

	io->fd = fd;
	io->edge_in = -1;
	io->edge_out = -1;
	io->beat = beat;
	io->sleeps = sleeps;
	io->read_anomaly = NULL;
	io->write_anomaly = NULL;
	atomic_store(&io->given_up, false);
	atomic_store(&beat->at_ms, now_ms());
	fcntl(fd, F_SETFL, sleeps ? 0 : O_NONBLOCK);
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &one_second, sizeof(one_second));
	setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &one_second, sizeof(one_second));
}

void io_close(struct io *io, bool reset)
{
	struct linger hard = {.l_onoff = 1, .l_linger = 0};

	if (io->edge_in >= 0)
		close(io->edge_in);
	if (io->edge_out >= 0)
		close(io->edge_out);
	if (reset)
		setsockopt(io->fd, SOL_SOCKET, SO_LINGER, &hard, sizeof(hard));
	close(io->fd);
	io->fd = io->edge_in = io->edge_out = -1;
}

void io_pause(struct io *io, uint64_t ms)
{
	if (!ms)
		return;
	atomic_store(&io->beat->at_ms, now_ms() + ms);
	sleep_ms(ms);
}
