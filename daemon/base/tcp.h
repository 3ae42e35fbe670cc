/* SPDX-License-Identifier: Apache-2.0 */
/* The window of a TCP connection by what its distance needs, and not by what the kernel would let it grow to: what a sender can get rid of while
 * nobody reads. */
#ifndef WEFT_BASE_TCP_H
#define WEFT_BASE_TCP_H

#include <stdint.h>

/* The shortest round-trip time of an established connection that was seen. 0: unknown. */
uint32_t tcp_round_trip_us(int fd);

/* The first round-trip times of a connection may be measured while everybody waits for a CPU: a window by them could be anything. */
enum tcp_window {
	TCP_WINDOW_NARROW,      /* 64 KiB */
	TCP_WINDOW_MESSAGE,     /* 128 KiB: with less, messages of 1 MB from another node lose a third of their throughput */
	TCP_WINDOW_FAR_MESSAGE, /* what 2 Gbit/s need at the round-trip time, 128 to 256 KiB */
	TCP_WINDOW_WIDE,        /* 10 Gbit/s, 256 KiB to 16 MiB */
};
uint32_t tcp_window_bytes(enum tcp_window window, uint32_t round_trip_us);

/* Of an established connection; the kernel no longer sizes it by itself. What was told to the sender before stays true. */
void tcp_set_window(int fd, enum tcp_window window);

/* How many bytes were read from an established connection so far, modulo 2^32. 0 or -errno; -EAGAIN: bytes come all the time. */
int tcp_taken_bytes(int fd, uint32_t *taken);

#endif
