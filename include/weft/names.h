/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only */
/* Header names: their hash, and the names that the engine knows. */
#ifndef WEFT_NAMES_H
#define WEFT_NAMES_H

#include "weft/base.h"
#include "weft/bytes.h"

#define WEFT_NAME_SEED 0x9e3779b97f4a7c15ull
#define WEFT_NAME_MULTIPLIER 0xff51afd7ed558ccdull

/* A name is hashed by words of 8 bytes, the last filled up with zeros, every byte with bit 0x20 set: letters become lower case, and
 * of the other token characters only ^ and ~ fall together. */
WEFT_INLINE u64 weft_name_hash_step(u64 h, u64 word)
{
	h = (h ^ word) * WEFT_NAME_MULTIPLIER;
	return h ^ (h >> 32);
}

WEFT_INLINE u32 weft_name_hash_finish(u64 h, u32 len)
{
	return (u32)(h ^ len);
}

#ifndef __bpf__
/* What the parser puts into weft_field.name_hash and compile into weft_condition.name_hash. */
static inline u32 weft_name_hash(const u8 *name, u32 len)
{
	u64 h = WEFT_NAME_SEED, word = 0;
	u32 i;

	for (i = 0; i < len; i++) {
		word |= (u64)(name[i] | 0x20) << (8 * (i & 7));
		if ((i & 7) == 7 || i + 1 == len) {
			h = weft_name_hash_step(h, word);
			word = 0;
		}
	}
	return weft_name_hash_finish(h, len);
}
#endif

enum weft_name {
	WEFT_NAME_UNKNOWN = 0,
	WEFT_NAME_HOST,
	WEFT_NAME_CONTENT_LENGTH,
	WEFT_NAME_TRANSFER_ENCODING,
	WEFT_NAME_CONNECTION,
	WEFT_NAME_UPGRADE,
	WEFT_NAME_EXPECT,
	WEFT_NAME_TE,
	WEFT_NAME_TRAILER,
	WEFT_NAME_KEEP_ALIVE,
	WEFT_NAME_PROXY_CONNECTION,
	WEFT_NAME_X_FORWARDED_CLIENT_CERT,
	WEFT_NAME_X_FORWARDED_PROTO,
	WEFT_NAME_CONTENT_TYPE,
	WEFT_NAME_VARY,
	WEFT_NAME_ACCEPT,
	WEFT_NAME_ACCEPT_ENCODING,
	WEFT_NAME_ACCESS_CONTROL_REQUEST_HEADERS,
	WEFT_NAME_ACCESS_CONTROL_REQUEST_METHOD,
	WEFT_NAME_AUTHORIZATION,
	WEFT_NAME_CACHE_CONTROL,
	WEFT_NAME_CONTENT_ENCODING,
	WEFT_NAME_GRPC_TIMEOUT,
	WEFT_NAME_IF_MATCH,
	WEFT_NAME_IF_MODIFIED_SINCE,
	WEFT_NAME_IF_NONE_MATCH,
	WEFT_NAME_IF_RANGE,
	WEFT_NAME_IF_UNMODIFIED_SINCE,
	WEFT_NAME_ORIGIN,
	WEFT_NAME_PRAGMA,
	WEFT_NAME_REFERER,
	WEFT_NAME_USER_AGENT,
	WEFT_NAME_VIA,
	WEFT_NAME_X_CLIENT_TRACE_ID,
	WEFT_NAME_X_FORWARDED_FOR,
	WEFT_NAME_X_FORWARDED_HOST,
	WEFT_NAME_X_FORWARDED_PORT,
	WEFT_NAME_X_REQUEST_ID,
	WEFT_NAME_X_ENVOY_DECORATOR_OPERATION,
	WEFT_NAME_X_ENVOY_EXTERNAL_ADDRESS,
	WEFT_NAME_X_ENVOY_ORIGINAL_PATH,
	WEFT_NAME_COUNT
};

#define WEFT_NAME_IS_SPECIAL 0x01u     /* framing and connection: the parser reads the value */
#define WEFT_NAME_IS_PRIVATE 0x02u     /* Envoy strips it or acts upon it: WEFT_HEAD_PRIVATE */
#define WEFT_NAME_IS_JOINED 0x04u      /* Envoy joins repeated lines in requests (FACTS "Header and query matchers") */
#define WEFT_NAME_IS_JOINED_BACK 0x08u /* and in responses */

#define WEFT_KNOWN_NAME_MAX 32

/* In lower case, filled up with zeros: compared by words, and indexed by enum weft_name. */
struct weft_known_name {
	u8 text[WEFT_KNOWN_NAME_MAX];
	u8 len;
	u8 flags;
	u8 zero[6];
} __attribute__((aligned(8)));

/* WEFT_KNOWN_NAMES is a power of two above WEFT_NAME_COUNT, so that a masked name stays inside. */
#define WEFT_KNOWN_NAMES 64u

static const struct weft_known_name weft_known_names[WEFT_KNOWN_NAMES] = {
	[WEFT_NAME_HOST] = {"host", 4, WEFT_NAME_IS_SPECIAL, {0}},
	[WEFT_NAME_CONTENT_LENGTH] = {"content-length", 14, WEFT_NAME_IS_SPECIAL, {0}},
	[WEFT_NAME_TRANSFER_ENCODING] = {"transfer-encoding", 17, WEFT_NAME_IS_SPECIAL, {0}},
	[WEFT_NAME_CONNECTION] = {"connection", 10, WEFT_NAME_IS_SPECIAL, {0}},
	[WEFT_NAME_UPGRADE] = {"upgrade", 7, WEFT_NAME_IS_SPECIAL, {0}},
	[WEFT_NAME_EXPECT] = {"expect", 6, WEFT_NAME_IS_SPECIAL | WEFT_NAME_IS_JOINED, {0}},
	[WEFT_NAME_TE] = {"te", 2, WEFT_NAME_IS_SPECIAL, {0}},
	[WEFT_NAME_TRAILER] = {"trailer", 7, WEFT_NAME_IS_SPECIAL, {0}},
	[WEFT_NAME_KEEP_ALIVE] = {"keep-alive", 10, WEFT_NAME_IS_SPECIAL, {0}},
	[WEFT_NAME_PROXY_CONNECTION] = {"proxy-connection", 16, WEFT_NAME_IS_PRIVATE, {0}},
	[WEFT_NAME_X_FORWARDED_CLIENT_CERT] = {"x-forwarded-client-cert", 23, WEFT_NAME_IS_PRIVATE, {0}},
	[WEFT_NAME_X_FORWARDED_PROTO] = {"x-forwarded-proto", 17, WEFT_NAME_IS_PRIVATE | WEFT_NAME_IS_JOINED, {0}},
	[WEFT_NAME_CONTENT_TYPE] = {"content-type", 12, WEFT_NAME_IS_JOINED | WEFT_NAME_IS_JOINED_BACK, {0}},
	[WEFT_NAME_VARY] = {"vary", 4, WEFT_NAME_IS_JOINED_BACK, {0}},
	[WEFT_NAME_ACCEPT] = {"accept", 6, WEFT_NAME_IS_JOINED, {0}},
	[WEFT_NAME_ACCEPT_ENCODING] = {"accept-encoding", 15, WEFT_NAME_IS_JOINED, {0}},
	[WEFT_NAME_ACCESS_CONTROL_REQUEST_HEADERS] = {"access-control-request-headers", 30, WEFT_NAME_IS_JOINED, {0}},
	[WEFT_NAME_ACCESS_CONTROL_REQUEST_METHOD] = {"access-control-request-method", 29, WEFT_NAME_IS_JOINED, {0}},
	[WEFT_NAME_AUTHORIZATION] = {"authorization", 13, WEFT_NAME_IS_JOINED, {0}},
	[WEFT_NAME_CACHE_CONTROL] = {"cache-control", 13, WEFT_NAME_IS_JOINED, {0}},
	[WEFT_NAME_CONTENT_ENCODING] = {"content-encoding", 16, WEFT_NAME_IS_JOINED, {0}},
	[WEFT_NAME_GRPC_TIMEOUT] = {"grpc-timeout", 12, WEFT_NAME_IS_JOINED, {0}},
	[WEFT_NAME_IF_MATCH] = {"if-match", 8, WEFT_NAME_IS_JOINED, {0}},
	[WEFT_NAME_IF_MODIFIED_SINCE] = {"if-modified-since", 17, WEFT_NAME_IS_JOINED, {0}},
	[WEFT_NAME_IF_NONE_MATCH] = {"if-none-match", 13, WEFT_NAME_IS_JOINED, {0}},
	[WEFT_NAME_IF_RANGE] = {"if-range", 8, WEFT_NAME_IS_JOINED, {0}},
	[WEFT_NAME_IF_UNMODIFIED_SINCE] = {"if-unmodified-since", 19, WEFT_NAME_IS_JOINED, {0}},
	[WEFT_NAME_ORIGIN] = {"origin", 6, WEFT_NAME_IS_JOINED, {0}},
	[WEFT_NAME_PRAGMA] = {"pragma", 6, WEFT_NAME_IS_JOINED, {0}},
	[WEFT_NAME_REFERER] = {"referer", 7, WEFT_NAME_IS_JOINED, {0}},
	[WEFT_NAME_USER_AGENT] = {"user-agent", 10, WEFT_NAME_IS_JOINED, {0}},
	[WEFT_NAME_VIA] = {"via", 3, WEFT_NAME_IS_JOINED, {0}},
	[WEFT_NAME_X_CLIENT_TRACE_ID] = {"x-client-trace-id", 17, WEFT_NAME_IS_JOINED, {0}},
	[WEFT_NAME_X_FORWARDED_FOR] = {"x-forwarded-for", 15, WEFT_NAME_IS_JOINED, {0}},
	[WEFT_NAME_X_FORWARDED_HOST] = {"x-forwarded-host", 16, WEFT_NAME_IS_JOINED, {0}},
	[WEFT_NAME_X_FORWARDED_PORT] = {"x-forwarded-port", 16, WEFT_NAME_IS_JOINED, {0}},
	[WEFT_NAME_X_REQUEST_ID] = {"x-request-id", 12, WEFT_NAME_IS_JOINED, {0}},
	[WEFT_NAME_X_ENVOY_DECORATOR_OPERATION] = {"x-envoy-decorator-operation", 27, WEFT_NAME_IS_JOINED, {0}},
	[WEFT_NAME_X_ENVOY_EXTERNAL_ADDRESS] = {"x-envoy-external-address", 24, WEFT_NAME_IS_JOINED, {0}},
	[WEFT_NAME_X_ENVOY_ORIGINAL_PATH] = {"x-envoy-original-path", 21, WEFT_NAME_IS_JOINED, {0}},
};

/* Hash to name, without collisions: the seed was chosen so (tests/unit/engine/names_test.c checks every entry). */
#define WEFT_NAME_SLOTS 128u
#define WEFT_NAME_SLOT(hash) (((hash) >> 15) & (WEFT_NAME_SLOTS - 1))

static const u8 weft_name_slots[WEFT_NAME_SLOTS] = {
	[2] = WEFT_NAME_IF_UNMODIFIED_SINCE,
	[8] = WEFT_NAME_CONNECTION,
	[10] = WEFT_NAME_X_ENVOY_EXTERNAL_ADDRESS,
	[13] = WEFT_NAME_USER_AGENT,
	[17] = WEFT_NAME_KEEP_ALIVE,
	[20] = WEFT_NAME_PROXY_CONNECTION,
	[25] = WEFT_NAME_CONTENT_LENGTH,
	[32] = WEFT_NAME_X_FORWARDED_FOR,
	[34] = WEFT_NAME_PRAGMA,
	[36] = WEFT_NAME_IF_NONE_MATCH,
	[37] = WEFT_NAME_X_ENVOY_ORIGINAL_PATH,
	[46] = WEFT_NAME_CONTENT_TYPE,
	[49] = WEFT_NAME_REFERER,
	[50] = WEFT_NAME_UPGRADE,
	[51] = WEFT_NAME_VARY,
	[54] = WEFT_NAME_X_FORWARDED_HOST,
	[55] = WEFT_NAME_X_REQUEST_ID,
	[57] = WEFT_NAME_EXPECT,
	[58] = WEFT_NAME_ACCEPT_ENCODING,
	[59] = WEFT_NAME_TRAILER,
	[60] = WEFT_NAME_TE,
	[64] = WEFT_NAME_GRPC_TIMEOUT,
	[65] = WEFT_NAME_TRANSFER_ENCODING,
	[66] = WEFT_NAME_X_FORWARDED_PROTO,
	[67] = WEFT_NAME_VIA,
	[74] = WEFT_NAME_CONTENT_ENCODING,
	[77] = WEFT_NAME_ACCESS_CONTROL_REQUEST_METHOD,
	[78] = WEFT_NAME_X_CLIENT_TRACE_ID,
	[90] = WEFT_NAME_CACHE_CONTROL,
	[93] = WEFT_NAME_IF_MATCH,
	[100] = WEFT_NAME_ACCESS_CONTROL_REQUEST_HEADERS,
	[102] = WEFT_NAME_AUTHORIZATION,
	[105] = WEFT_NAME_X_ENVOY_DECORATOR_OPERATION,
	[108] = WEFT_NAME_X_FORWARDED_CLIENT_CERT,
	[112] = WEFT_NAME_IF_RANGE,
	[114] = WEFT_NAME_IF_MODIFIED_SINCE,
	[116] = WEFT_NAME_X_FORWARDED_PORT,
	[119] = WEFT_NAME_ORIGIN,
	[121] = WEFT_NAME_HOST,
	[125] = WEFT_NAME_ACCEPT,
};

/* Which known name the token of `len` bytes at `name` is; `hash` is its weft_name_hash. Up to 31 bytes after it may be read, so it
 * is for names in a head. The comparison is exact because the name holds only token characters and no known name has ^ or ~. */
WEFT_INLINE u32 weft_known_name(const u8 *name, u32 len, u32 hash)
{
	u32 id = weft_name_slots[WEFT_NAME_SLOT(hash)], i;
	const struct weft_known_name *known;

	if (!id)
		return WEFT_NAME_UNKNOWN;
	known = &weft_known_names[id & (WEFT_KNOWN_NAMES - 1)];
	if (known->len != len)
		return WEFT_NAME_UNKNOWN;
	for (i = 0; i < WEFT_KNOWN_NAME_MAX; i += 8) {
		u64 word;

		if (i >= len)
			break;
		word = (weft_load8(name + i) | WEFT_EACH(0x20)) & weft_first_bytes(len - i);
		if (word != weft_load8(known->text + i))
			return WEFT_NAME_UNKNOWN;
	}
	return id;
}

#endif
