/* SPDX-License-Identifier: Apache-2.0 */
/* Bytes from outside as protobuf's wire format has them, read from the left and never past their end. */
#ifndef WEFT_BASE_VARINT_H
#define WEFT_BASE_VARINT_H

#include <stdbool.h>
#include <stdint.h>

struct cursor {
	const uint8_t *at, *end;
};

/* False for one that is cut off or longer than ten bytes. Bits past the 64th are lost, as with everybody who reads protobuf. */
static inline bool take_varint(struct cursor *c, uint64_t *out)
{
	uint64_t value = 0;

	for (unsigned shift = 0; shift < 64 && c->at < c->end; shift += 7) {
		uint8_t byte = *c->at++;

		value |= (uint64_t)(byte & 0x7f) << shift;
		if (!(byte & 0x80)) {
			*out = value;
			return true;
		}
	}
	return false;
}

static inline bool skip_bytes(struct cursor *c, uint64_t size)
{
	if (size > (uint64_t)(c->end - c->at))
		return false;
	c->at += size;
	return true;
}

#endif
