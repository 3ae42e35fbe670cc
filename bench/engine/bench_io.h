/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only */
/* What bench.bpf.c and its runner share. */
#ifndef WEFT_BENCH_IO_H
#define WEFT_BENCH_IO_H

#include "weft/head.h"
#include "weft/image.h"

#define BENCH_REQUESTS 256u /* a power of two: they are taken in turn */
#define BENCH_STATES 4096u

/* A request where the program reads it, with the slack that the engine wants. */
struct bench_request {
	u8 data[WEFT_KERNEL_HEAD_MAX + WEFT_HEAD_SLACK];
} __attribute__((aligned(64)));

struct bench_io {
	u32 routes_slot;
	u32 endpoints_slot;
	weft_ref route_table;
	u32 turn;
	u32 decided;    /* requests that got an endpoint */
	u32 route_ids;  /* their sum */
	u32 lengths[BENCH_REQUESTS];
	struct bench_request requests[BENCH_REQUESTS];
};

#endif
