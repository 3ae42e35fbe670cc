/* SPDX-License-Identifier: Apache-2.0 */
/* The configuration reader on hostile input: a text as a file, or (first byte below 4) serialized bytes as a resource of that kind. It must
 * not crash, leak or take more than its limits; what it says of the input does not matter here.
 *
 * With libFuzzer (clang -fsanitize=fuzzer) the fuzzer drives it. Without, the program mutates the seed files it is given:
 * yaml_fuzz SECONDS SEED FILE... */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "mesh/mesh.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct mesh_report report = MESH_REPORT_INIT;
	struct mesh *mesh = NULL;

	if (size && data[0] < MESH_KINDS) {
		if (mesh_new(&mesh))
			return 0;
		mesh_add_resource(mesh, mesh_kind_type_url(data[0]), data + 1, size - 1, &report);
		mesh_check_references(mesh, &report);
	} else {
		mesh_load_text("fuzz", (const char *)data, size, &mesh, &report);
	}
	mesh_free(&mesh);
	mesh_report_release(&report);
	return 0;
}

#ifndef WEFT_LIBFUZZER
#include <stdio.h>
#include <time.h>

#include "base/cleanup.h"
#include "base/fd.h"

#define SIZE_LIMIT ((size_t)64 * 1024)

struct seeds {
	struct strbuf *items;
	size_t count;
};

static uint64_t random_next(uint64_t *state)
{
	*state ^= *state << 13;
	*state ^= *state >> 7;
	*state ^= *state << 17;
	return *state;
}

/* Cuts, copies and changes a few bytes; sometimes words that mean something to YAML or to the reader. */
static void mutate(struct strbuf *text, const struct seeds *seeds, uint64_t *state)
{
	static const char *const words[] = { "&a ", "*a", "!!str ", "null", "---\n", "{", "}", "[", "]", ": ", "- ", "\"", "'", "\\0", "\t", "\n",
					     "'@type': ", "0", "-1", "1e999", "4294967296", "\xff", "%", "s", "<<: *a\n", "? " };
	size_t rounds = 1 + random_next(state) % 6;

	while (rounds-- && text->size) {
		size_t at = random_next(state) % text->size;
		size_t length = 1 + random_next(state) % 64;
		const struct strbuf *other = &seeds->items[random_next(state) % seeds->count];
		const char *word = words[random_next(state) % ARRAY_SIZE(words)];
		_cleanup_(strbuf_release) struct strbuf tail = STRBUF_INIT;

		switch (random_next(state) % 6) {
		case 0:
			text->data[at] = (char)random_next(state);
			break;
		case 1:
			text->data[at] ^= (char)(1 << random_next(state) % 8);
			break;
		case 2: /* cut */
			if (length > text->size - at)
				length = text->size - at;
			memmove(text->data + at, text->data + at + length, text->size - at - length);
			strbuf_truncate(text, text->size - length);
			break;
		case 3: /* insert a word */
			strbuf_append(&tail, text->data + at, text->size - at);
			strbuf_truncate(text, at);
			strbuf_append_text(text, word);
			strbuf_append(text, tail.data, tail.size);
			break;
		case 4: /* the rest of another seed */
			if (!other->size)
				break;
			strbuf_truncate(text, at);
			at = random_next(state) % other->size;
			length = other->size - at > SIZE_LIMIT ? SIZE_LIMIT : other->size - at;
			strbuf_append(text, other->data + at, length);
			break;
		default:
			strbuf_truncate(text, at);
			break;
		}
	}
	if (text->size > SIZE_LIMIT)
		strbuf_truncate(text, SIZE_LIMIT);
}

int main(int argc, char **argv)
{
	struct seeds seeds = { NULL, 0 };
	uint64_t state, runs = 0;
	time_t end;

	if (argc < 4) {
		fprintf(stderr, "usage: %s SECONDS SEED FILE...\n", argv[0]);
		return 2;
	}
	seeds.items = calloc((size_t)argc, sizeof(*seeds.items));
	for (int i = 3; seeds.items && i < argc; i++)
		if (file_read(argv[i], SIZE_LIMIT, &seeds.items[seeds.count]) == 0 || seeds.items[seeds.count].size)
			seeds.count++;
	if (!seeds.count) {
		fprintf(stderr, "no seed could be read\n");
		return 2;
	}
	state = strtoull(argv[2], NULL, 10) * 2 + 1;
	end = time(NULL) + atol(argv[1]);
	for (; time(NULL) < end; runs++) {
		_cleanup_(strbuf_release) struct strbuf text = STRBUF_INIT;
		const struct strbuf *seed = &seeds.items[random_next(&state) % seeds.count];

		strbuf_append(&text, strbuf_text(seed), seed->size);
		if (runs >= seeds.count)
			mutate(&text, &seeds, &state);
		LLVMFuzzerTestOneInput((const uint8_t *)strbuf_text(&text), text.size);
	}
	printf("%llu inputs\n", (unsigned long long)runs);
	for (size_t i = 0; i < seeds.count; i++)
		strbuf_release(&seeds.items[i]);
	free(seeds.items);
	return 0;
}
#endif
