/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only */
/* What the tests of the engine in the kernel share: the loaded object, one call at a time, and images in slots. */
#ifndef WEFT_TEST_ENGINE_HARNESS_H
#define WEFT_TEST_ENGINE_HARNESS_H

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <cmocka.h>

#include "engine_io.h"
#include "weft/balance.h"
#include "weft/http1.h"
#include "weft/router.h"

#define SEED 20240607u

struct engine {
	struct bpf_object *object;
	struct engine_io *io;
	size_t io_size;
	int images_fd;
};

static const char *object_path;
static inline struct engine *engine_of(void **state)
{
	return *state;
}

static inline int program_fd(struct engine *engine, const char *name)
{
	struct bpf_program *program = bpf_object__find_program_by_name(engine->object, name);

	assert_non_null(program);
	return bpf_program__fd(program);
}

/* Runs a program `repeat` times; returns nanoseconds a run. */
static inline u32 run(struct engine *engine, const char *name, u32 repeat)
{
	u8 packet[64] = {};
	LIBBPF_OPTS(bpf_test_run_opts, options, .data_in = packet, .data_size_in = sizeof(packet), .repeat = repeat);

	assert_int_equal(bpf_prog_test_run_opts(program_fd(engine, name), &options), 0);
	return options.duration;
}

static inline void feed(struct engine *engine, const u8 *bytes, u32 len)
{
	assert_true(len <= WEFT_KERNEL_HEAD_MAX);
	memcpy(engine->io->bytes, bytes, len);
	engine->io->len = len;
}

/* What was read, again, if the request is one that the programs rewrite before they look for a route. */
static inline void canonical(struct engine *engine)
{
	if (!(((const struct weft_head *)&engine->io->head)->flags & WEFT_HEAD_NOT_CANONICAL))
		return;
	run(engine, "engine_canonical", 1);
	assert_int_equal(engine->io->result, WEFT_PARSE_DONE);
}

struct counts {
	u32 compared;
	u32 done;
	u32 wrong;
};

/* ---- mutations ---------------------------------------------------------------------------------------------------------------- */

static inline u32 random_next(u32 *random)
{
	*random ^= *random << 13;
	*random ^= *random >> 17;
	*random ^= *random << 5;
	return *random;
}

static inline u32 mutate(u8 *bytes, u32 len, u32 room, u32 *random)
{
	static const char *const pieces[] = {
		"\r\n", "\n", "\r", " ", "\t", ":", ",", "/", "//", "/../", "/.", "%2e", "%00", "%7E", "?", "#", "\\", "|", "\x80", "\x7f", "@", "[", "]",
		"Host: a\r\n", "Host: [::1]:80\r\n", "Connection: close, keep-alive ,upgrade\r\n", "Content-Length: 5\r\n", "Transfer-Encoding: chunked\r\n",
		"Upgrade: websocket\r\n", "Expect: 100-continue\r\n", "X-Envoy-Retry-On: 5xx\r\n", "A-Long-Header-Name-That-Needs-More-Than-Four-Words: x\r\n",
		"Accept: a\r\n", "http://u@h:1/", "HTTP/1.0", "\r\n\r\n", "0123456789",
	};
	u32 edits = 1 + random_next(random) % 3;

	while (edits--) {
		u32 at = len ? random_next(random) % len : 0;

		switch (random_next(random) % 5) {
		case 0:
			if (len)
				bytes[at] = random_next(random);
			break;
		case 1:
			if (len)
				bytes[at] ^= 1u << (random_next(random) % 8);
			break;
		case 2: {
			u32 n = len ? 1 + random_next(random) % WEFT_MIN(len - at, 8u) : 0;

			memmove(bytes + at, bytes + at + n, len - at - n);
			len -= n;
			break;
		}
		case 3: {
			const char *piece = pieces[random_next(random) % WEFT_ARRAY_SIZE(pieces)];
			u32 n = strlen(piece);

			if (len + n > room)
				break;
			memmove(bytes + at + n, bytes + at, len - at);
			memcpy(bytes + at, piece, n);
			len += n;
			break;
		}
		case 4:
			if (random_next(random) % 4 == 0)
				len = at;
			break;
		}
	}
	return len;
}

/* ---- images ------------------------------------------------------------------------------------------------------------------------- */

/* Hangs the image into a slot as the daemon does. */
static inline void publish(struct engine *engine, u32 slot, const u8 *base, u32 page_count)
{
	LIBBPF_OPTS(bpf_map_create_opts, options, .map_flags = BPF_F_MMAPABLE | BPF_F_INNER_MAP);
	int fd = bpf_map_create(BPF_MAP_TYPE_ARRAY, "engine_image", sizeof(u32), WEFT_PAGE_SIZE, page_count, &options);
	void *pages;

	assert_true(fd >= 0);
	pages = mmap(NULL, (size_t)page_count * WEFT_PAGE_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	assert_true(pages != MAP_FAILED);
	memcpy(pages, base, (size_t)page_count * WEFT_PAGE_SIZE);
	munmap(pages, (size_t)page_count * WEFT_PAGE_SIZE);
	assert_int_equal(bpf_map_update_elem(engine->images_fd, &slot, &fd, BPF_ANY), 0);
	close(fd);
}

/* ---- set up ------------------------------------------------------------------------------------------------------------------------------ */

static inline int print_libbpf(enum libbpf_print_level level, const char *format, va_list arguments)
{
	return level == LIBBPF_DEBUG ? 0 : vfprintf(stderr, format, arguments);
}

static inline int open_engine(void **state)
{
	static struct engine engine;
	struct bpf_map *map;

	libbpf_set_print(print_libbpf);
	engine.object = bpf_object__open_file(object_path, NULL);
	if (!engine.object || bpf_object__load(engine.object))
		return -1;
	engine.images_fd = bpf_object__find_map_fd_by_name(engine.object, "images");
	bpf_object__for_each_map(map, engine.object) {
		if (!strstr(bpf_map__name(map), ".bss"))
			continue;
		engine.io_size = (bpf_map__value_size(map) + 4095) & ~4095u;
		engine.io = mmap(NULL, engine.io_size, PROT_READ | PROT_WRITE, MAP_SHARED, bpf_map__fd(map), 0);
	}
	if (!engine.io || engine.io == MAP_FAILED)
		return -1;
	*state = &engine;
	return 0;
}

static inline int close_engine(void **state)
{
	munmap(engine_of(state)->io, engine_of(state)->io_size);
	bpf_object__close(engine_of(state)->object);
	return 0;
}

#endif
