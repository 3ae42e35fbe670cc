// SPDX-License-Identifier: Apache-2.0
#include "pads.h"

#include <stdio.h>

#include "bytes.h"

/* Few enough lines for everybody's limit on their number (100), long enough values to come to 50 KB. */
static uint64_t value_len(uint64_t total)
{
	uint64_t len = total / 12;

	return len < 24 ? 24 : len > 5000 ? 5000 : len;
}

size_t pads_write(char *out, size_t len, uint64_t key, uint64_t total)
{
	uint64_t value = value_len(total);
	uint64_t offset = 0;
	size_t used = 0;

	for (unsigned int i = 0; offset < total && used + value + 32 < len; i++) {
		used += (size_t)sprintf(out + used, "X-P%u: ", i);
		text_fill(key, offset, out + used, value);
		used += value;
		used += (size_t)sprintf(out + used, "\r\n");
		offset += value;
	}
	return used;
}

bool pads_check(const struct head *head, uint64_t key, uint64_t total)
{
	uint64_t value = value_len(total);
	uint64_t offset = 0;
	struct text found;
	unsigned int i = 0;
	char name[16];

	for (; offset < total; i++, offset += value) {
		snprintf(name, sizeof(name), "X-P%u", i);
		if (!head_field(head, name, 0, &found) || found.len != value || !text_check(key, offset, found.at, value) ||
		    head_field(head, name, 1, &found))
			return false;
	}
	snprintf(name, sizeof(name), "X-P%u", i);
	return !head_field(head, name, 0, &found);
}
