/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only */
/* What engine.bpf.c and its runner share: one call, its bytes and its answer, in the kernel's sizes. */
#ifndef WEFT_TEST_ENGINE_IO_H
#define WEFT_TEST_ENGINE_IO_H

#include "weft/exceptions.h"
#include "weft/hash.h"
#include "weft/head.h"
#include "weft/router.h"

/* struct weft_head as the kernel lays it out: it has fewer fields, and all before them is the same. */
struct engine_head {
	u8 fixed[__builtin_offsetof(struct weft_head, fields)];
	struct weft_field fields[WEFT_KERNEL_FIELDS_MAX];
};

#define ENGINE_STATES 64

struct engine_io {
	u32 len;
	u32 request_method;
	u32 offset;
	s32 result;
	u32 slot;
	weft_ref route_table;
	u32 random;
	u32 cluster_id;
	u32 attempt;
	u32 hash_state;
	weft_ref hash_policies;
	u64 hash;
	u64 source_hash;
	struct weft_address address;
	u32 port_be;
	struct weft_exceptions exceptions;
	u8 bytes[WEFT_KERNEL_HEAD_MAX + WEFT_HEAD_SLACK] __attribute__((aligned(8)));
	struct engine_head head __attribute__((aligned(8)));
	struct weft_route_result route;
	struct weft_endpoint endpoint;
	weft_ref listener;
};

#endif
