/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only */
/* Header names: their hash, and the names that the engine knows. */
#ifndef WEFT_NAMES_H
#define WEFT_NAMES_H

#include "weft/base.h"
#include "weft/bytes.h"

#define WEFT_NAME_EVEN 0xe22255a4f662e09full
#define WEFT_NAME_ODD 0x643b10b5fe9bc2dfull
#define WEFT_NAME_BLOCK 0x9e3779b97f4a7c15ull

/* A name is hashed with its colon, by words of 8 bytes, every byte with bit 0x20 set: letters become lower case, and of the other token
 * characters only ^ and ~ fall together. What the last word lacks is 0. */
WEFT_INLINE u64 weft_name_hash_step(u64 h, u64 word, u32 index)
{
	return index & 1 ? h + word * WEFT_NAME_ODD : h * WEFT_NAME_BLOCK + word * WEFT_NAME_EVEN;
}

WEFT_INLINE u32 weft_name_hash_finish(u64 h)
{
	return h >> 32;
}

#ifndef __bpf__
/* What the parser puts into weft_field.name_hash and compile into weft_condition.name_hash. */
static inline u32 weft_name_hash(const u8 *name, u32 len)
{
	u64 h = 0, word = 0;
	u32 i;

	for (i = 0; i <= len; i++) {
		word |= (u64)((i < len ? name[i] : ':') | 0x20) << (8 * (i & 7));
		if ((i & 7) == 7 || i == len) {
			h = weft_name_hash_step(h, word, i >> 3);
			word = 0;
		}
	}
	return weft_name_hash_finish(h);
}
#endif

/* Hosts as a whole are hashed by words of 8 bytes too, every byte with bit 0x20 set. (Of the parts that wildcards ask for: weft_hash_step.) */
#define WEFT_HOST_FACTOR 0xff51afd7ed558ccdull

WEFT_INLINE u64 weft_host_hash_step(u64 h, u64 word)
{
	h = (h ^ word) * WEFT_HOST_FACTOR;
	return h ^ (h >> 32);
}

WEFT_INLINE u32 weft_host_hash_finish(u64 h, u32 len)
{
	return (u32)h + len;
}

#ifndef __bpf__
/* What the parser puts into weft_head.host_hash and compile into the slots of exact hosts. */
static inline u32 weft_host_hash(const u8 *host, u32 len)
{
	u64 h = 0, word = 0;
	u32 i;

	for (i = 0; i < len; i++) {
		word |= (u64)(host[i] | 0x20) << (8 * (i & 7));
		if ((i & 7) == 7 || i + 1 == len) {
			h = weft_host_hash_step(h, word);
			word = 0;
		}
	}
	return weft_host_hash_finish(h, len);
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

/* In lower case and with the colon, filled up with zeros: compared by words, and indexed by enum weft_name. */
struct weft_known_name {
	u8 text[WEFT_KNOWN_NAME_MAX];
	u8 len;   /* without the colon */
	u8 flags;
	u8 zero[6];
} __attribute__((aligned(8)));

/* WEFT_KNOWN_NAMES is a power of two above all of them, so that a masked name stays inside. After those of enum weft_name come frequent ones
 * that nothing is to be done about: what is in the table need not be judged byte by byte (weft/plain_field.h). */
#define WEFT_KNOWN_NAMES 128u
#define WEFT_SEEN_NAMES 64u /* above WEFT_NAME_COUNT: a parser remembers which of these came */

static const struct weft_known_name weft_known_names[WEFT_KNOWN_NAMES] = {
	[WEFT_NAME_HOST] = {"host:", 4, WEFT_NAME_IS_SPECIAL, {0}},
	[WEFT_NAME_CONTENT_LENGTH] = {"content-length:", 14, WEFT_NAME_IS_SPECIAL, {0}},
	[WEFT_NAME_TRANSFER_ENCODING] = {"transfer-encoding:", 17, WEFT_NAME_IS_SPECIAL, {0}},
	[WEFT_NAME_CONNECTION] = {"connection:", 10, WEFT_NAME_IS_SPECIAL, {0}},
	[WEFT_NAME_UPGRADE] = {"upgrade:", 7, WEFT_NAME_IS_SPECIAL, {0}},
	[WEFT_NAME_EXPECT] = {"expect:", 6, WEFT_NAME_IS_SPECIAL | WEFT_NAME_IS_JOINED, {0}},
	[WEFT_NAME_TE] = {"te:", 2, WEFT_NAME_IS_SPECIAL, {0}},
	[WEFT_NAME_TRAILER] = {"trailer:", 7, WEFT_NAME_IS_SPECIAL, {0}},
	[WEFT_NAME_KEEP_ALIVE] = {"keep-alive:", 10, WEFT_NAME_IS_SPECIAL, {0}},
	[WEFT_NAME_PROXY_CONNECTION] = {"proxy-connection:", 16, WEFT_NAME_IS_PRIVATE, {0}},
	[WEFT_NAME_X_FORWARDED_CLIENT_CERT] = {"x-forwarded-client-cert:", 23, WEFT_NAME_IS_PRIVATE, {0}},
	[WEFT_NAME_X_FORWARDED_PROTO] = {"x-forwarded-proto:", 17, WEFT_NAME_IS_SPECIAL | WEFT_NAME_IS_JOINED, {0}},
	[WEFT_NAME_CONTENT_TYPE] = {"content-type:", 12, WEFT_NAME_IS_JOINED | WEFT_NAME_IS_JOINED_BACK, {0}},
	[WEFT_NAME_VARY] = {"vary:", 4, WEFT_NAME_IS_JOINED_BACK, {0}},
	[WEFT_NAME_ACCEPT] = {"accept:", 6, WEFT_NAME_IS_JOINED, {0}},
	[WEFT_NAME_ACCEPT_ENCODING] = {"accept-encoding:", 15, WEFT_NAME_IS_JOINED, {0}},
	[WEFT_NAME_ACCESS_CONTROL_REQUEST_HEADERS] = {"access-control-request-headers:", 30, WEFT_NAME_IS_JOINED, {0}},
	[WEFT_NAME_ACCESS_CONTROL_REQUEST_METHOD] = {"access-control-request-method:", 29, WEFT_NAME_IS_JOINED, {0}},
	[WEFT_NAME_AUTHORIZATION] = {"authorization:", 13, WEFT_NAME_IS_JOINED, {0}},
	[WEFT_NAME_CACHE_CONTROL] = {"cache-control:", 13, WEFT_NAME_IS_JOINED, {0}},
	[WEFT_NAME_CONTENT_ENCODING] = {"content-encoding:", 16, WEFT_NAME_IS_JOINED, {0}},
	[WEFT_NAME_GRPC_TIMEOUT] = {"grpc-timeout:", 12, WEFT_NAME_IS_JOINED, {0}},
	[WEFT_NAME_IF_MATCH] = {"if-match:", 8, WEFT_NAME_IS_JOINED, {0}},
	[WEFT_NAME_IF_MODIFIED_SINCE] = {"if-modified-since:", 17, WEFT_NAME_IS_JOINED, {0}},
	[WEFT_NAME_IF_NONE_MATCH] = {"if-none-match:", 13, WEFT_NAME_IS_JOINED, {0}},
	[WEFT_NAME_IF_RANGE] = {"if-range:", 8, WEFT_NAME_IS_JOINED, {0}},
	[WEFT_NAME_IF_UNMODIFIED_SINCE] = {"if-unmodified-since:", 19, WEFT_NAME_IS_JOINED, {0}},
	[WEFT_NAME_ORIGIN] = {"origin:", 6, WEFT_NAME_IS_JOINED, {0}},
	[WEFT_NAME_PRAGMA] = {"pragma:", 6, WEFT_NAME_IS_JOINED, {0}},
	[WEFT_NAME_REFERER] = {"referer:", 7, WEFT_NAME_IS_JOINED, {0}},
	[WEFT_NAME_USER_AGENT] = {"user-agent:", 10, WEFT_NAME_IS_JOINED, {0}},
	[WEFT_NAME_VIA] = {"via:", 3, WEFT_NAME_IS_JOINED, {0}},
	[WEFT_NAME_X_CLIENT_TRACE_ID] = {"x-client-trace-id:", 17, WEFT_NAME_IS_JOINED, {0}},
	[WEFT_NAME_X_FORWARDED_FOR] = {"x-forwarded-for:", 15, WEFT_NAME_IS_JOINED, {0}},
	[WEFT_NAME_X_FORWARDED_HOST] = {"x-forwarded-host:", 16, WEFT_NAME_IS_JOINED, {0}},
	[WEFT_NAME_X_FORWARDED_PORT] = {"x-forwarded-port:", 16, WEFT_NAME_IS_JOINED, {0}},
	[WEFT_NAME_X_REQUEST_ID] = {"x-request-id:", 12, WEFT_NAME_IS_JOINED, {0}},
	[WEFT_NAME_X_ENVOY_DECORATOR_OPERATION] = {"x-envoy-decorator-operation:", 27, WEFT_NAME_IS_JOINED, {0}},
	[WEFT_NAME_X_ENVOY_EXTERNAL_ADDRESS] = {"x-envoy-external-address:", 24, WEFT_NAME_IS_JOINED, {0}},
	[WEFT_NAME_X_ENVOY_ORIGINAL_PATH] = {"x-envoy-original-path:", 21, WEFT_NAME_IS_JOINED, {0}},
	[WEFT_NAME_COUNT + 0] = {"cookie:", 6, 0, {0}},
	[WEFT_NAME_COUNT + 1] = {"accept-language:", 15, 0, {0}},
	[WEFT_NAME_COUNT + 2] = {"dnt:", 3, 0, {0}},
	[WEFT_NAME_COUNT + 3] = {"priority:", 8, 0, {0}},
	[WEFT_NAME_COUNT + 4] = {"range:", 5, 0, {0}},
	[WEFT_NAME_COUNT + 5] = {"upgrade-insecure-requests:", 25, 0, {0}},
	[WEFT_NAME_COUNT + 6] = {"sec-fetch-site:", 14, 0, {0}},
	[WEFT_NAME_COUNT + 7] = {"sec-fetch-mode:", 14, 0, {0}},
	[WEFT_NAME_COUNT + 8] = {"sec-fetch-dest:", 14, 0, {0}},
	[WEFT_NAME_COUNT + 9] = {"sec-fetch-user:", 14, 0, {0}},
	[WEFT_NAME_COUNT + 10] = {"sec-ch-ua:", 9, 0, {0}},
	[WEFT_NAME_COUNT + 11] = {"sec-ch-ua-mobile:", 16, 0, {0}},
	[WEFT_NAME_COUNT + 12] = {"sec-ch-ua-platform:", 18, 0, {0}},
	[WEFT_NAME_COUNT + 13] = {"sec-gpc:", 7, 0, {0}},
	[WEFT_NAME_COUNT + 14] = {"x-requested-with:", 16, 0, {0}},
	[WEFT_NAME_COUNT + 15] = {"x-real-ip:", 9, 0, {0}},
	[WEFT_NAME_COUNT + 16] = {"x-api-key:", 9, 0, {0}},
	[WEFT_NAME_COUNT + 17] = {"x-csrf-token:", 12, 0, {0}},
	[WEFT_NAME_COUNT + 18] = {"x-correlation-id:", 16, 0, {0}},
	[WEFT_NAME_COUNT + 19] = {"x-request-start:", 15, 0, {0}},
	[WEFT_NAME_COUNT + 20] = {"x-session-id:", 12, 0, {0}},
	[WEFT_NAME_COUNT + 21] = {"x-user-id:", 9, 0, {0}},
	[WEFT_NAME_COUNT + 22] = {"x-tenant-id:", 11, 0, {0}},
	[WEFT_NAME_COUNT + 23] = {"end-user:", 8, 0, {0}},
	[WEFT_NAME_COUNT + 24] = {"x-forwarded-prefix:", 18, 0, {0}},
	[WEFT_NAME_COUNT + 25] = {"forwarded:", 9, 0, {0}},
	[WEFT_NAME_COUNT + 26] = {"traceparent:", 11, 0, {0}},
	[WEFT_NAME_COUNT + 27] = {"tracestate:", 10, 0, {0}},
	[WEFT_NAME_COUNT + 28] = {"baggage:", 7, 0, {0}},
	[WEFT_NAME_COUNT + 29] = {"b3:", 2, 0, {0}},
	[WEFT_NAME_COUNT + 30] = {"x-b3-traceid:", 12, 0, {0}},
	[WEFT_NAME_COUNT + 31] = {"x-b3-spanid:", 11, 0, {0}},
	[WEFT_NAME_COUNT + 32] = {"x-b3-parentspanid:", 17, 0, {0}},
	[WEFT_NAME_COUNT + 33] = {"x-b3-sampled:", 12, 0, {0}},
	[WEFT_NAME_COUNT + 34] = {"x-b3-flags:", 10, 0, {0}},
	[WEFT_NAME_COUNT + 35] = {"x-ot-span-context:", 17, 0, {0}},
	[WEFT_NAME_COUNT + 36] = {"x-cloud-trace-context:", 21, 0, {0}},
	[WEFT_NAME_COUNT + 37] = {"x-amzn-trace-id:", 15, 0, {0}},
	[WEFT_NAME_COUNT + 38] = {"uber-trace-id:", 13, 0, {0}},
	[WEFT_NAME_COUNT + 39] = {"idempotency-key:", 15, 0, {0}},
	[WEFT_NAME_COUNT + 40] = {"content-language:", 16, 0, {0}},
	[WEFT_NAME_COUNT + 41] = {"content-disposition:", 19, 0, {0}},
	[WEFT_NAME_COUNT + 42] = {"content-range:", 13, 0, {0}},
	[WEFT_NAME_COUNT + 43] = {"date:", 4, 0, {0}},
	[WEFT_NAME_COUNT + 44] = {"server:", 6, 0, {0}},
	[WEFT_NAME_COUNT + 45] = {"set-cookie:", 10, 0, {0}},
	[WEFT_NAME_COUNT + 46] = {"etag:", 4, 0, {0}},
	[WEFT_NAME_COUNT + 47] = {"last-modified:", 13, 0, {0}},
	[WEFT_NAME_COUNT + 48] = {"location:", 8, 0, {0}},
	[WEFT_NAME_COUNT + 49] = {"expires:", 7, 0, {0}},
	[WEFT_NAME_COUNT + 50] = {"age:", 3, 0, {0}},
	[WEFT_NAME_COUNT + 51] = {"accept-ranges:", 13, 0, {0}},
	[WEFT_NAME_COUNT + 52] = {"allow:", 5, 0, {0}},
	[WEFT_NAME_COUNT + 53] = {"retry-after:", 11, 0, {0}},
	[WEFT_NAME_COUNT + 54] = {"www-authenticate:", 16, 0, {0}},
	[WEFT_NAME_COUNT + 55] = {"access-control-allow-origin:", 27, 0, {0}},
	[WEFT_NAME_COUNT + 56] = {"access-control-allow-methods:", 28, 0, {0}},
	[WEFT_NAME_COUNT + 57] = {"access-control-allow-headers:", 28, 0, {0}},
	[WEFT_NAME_COUNT + 58] = {"access-control-expose-headers:", 29, 0, {0}},
	[WEFT_NAME_COUNT + 59] = {"access-control-max-age:", 22, 0, {0}},
	[WEFT_NAME_COUNT + 60] = {"strict-transport-security:", 25, 0, {0}},
	[WEFT_NAME_COUNT + 61] = {"x-content-type-options:", 22, 0, {0}},
	[WEFT_NAME_COUNT + 62] = {"x-frame-options:", 15, 0, {0}},
	[WEFT_NAME_COUNT + 63] = {"x-xss-protection:", 16, 0, {0}},
	[WEFT_NAME_COUNT + 64] = {"referrer-policy:", 15, 0, {0}},
	[WEFT_NAME_COUNT + 65] = {"permissions-policy:", 18, 0, {0}},
	[WEFT_NAME_COUNT + 66] = {"link:", 4, 0, {0}},
	[WEFT_NAME_COUNT + 67] = {"x-powered-by:", 12, 0, {0}},
	[WEFT_NAME_COUNT + 68] = {"x-served-by:", 11, 0, {0}},
	[WEFT_NAME_COUNT + 69] = {"x-cache:", 7, 0, {0}},
	[WEFT_NAME_COUNT + 70] = {"alt-svc:", 7, 0, {0}},
	[WEFT_NAME_COUNT + 71] = {"server-timing:", 13, 0, {0}},
	[WEFT_NAME_COUNT + 72] = {"x-envoy-upstream-service-time:", 29, 0, {0}},
};

/* Hash to name, without collisions: the factors were chosen so (tests/unit/engine/names_test.c checks every entry). */
#define WEFT_NAME_SLOTS 512u
#define WEFT_NAME_SLOT(hash) ((hash) >> 23)

static const u8 weft_name_slots[WEFT_NAME_SLOTS] = {
	[2] = WEFT_NAME_COUNT + 36, [18] = WEFT_NAME_COUNT + 12, [23] = WEFT_NAME_COUNT + 34, [26] = WEFT_NAME_IF_MATCH,
	[27] = WEFT_NAME_COUNT + 66, [28] = WEFT_NAME_COUNT + 43, [33] = WEFT_NAME_KEEP_ALIVE, [44] = WEFT_NAME_CONNECTION,
	[49] = WEFT_NAME_COUNT + 49, [50] = WEFT_NAME_COUNT + 63, [51] = WEFT_NAME_CONTENT_LENGTH, [57] = WEFT_NAME_COUNT + 26,
	[60] = WEFT_NAME_COUNT + 71, [61] = WEFT_NAME_COUNT + 70, [64] = WEFT_NAME_COUNT + 59, [67] = WEFT_NAME_COUNT + 1,
	[70] = WEFT_NAME_ACCESS_CONTROL_REQUEST_HEADERS, [71] = WEFT_NAME_COUNT + 45, [72] = WEFT_NAME_VIA, [79] = WEFT_NAME_COUNT + 9,
	[82] = WEFT_NAME_COUNT + 27, [84] = WEFT_NAME_AUTHORIZATION, [87] = WEFT_NAME_PROXY_CONNECTION,
	[88] = WEFT_NAME_X_FORWARDED_HOST, [89] = WEFT_NAME_VARY, [97] = WEFT_NAME_COUNT + 28, [103] = WEFT_NAME_X_ENVOY_ORIGINAL_PATH,
	[104] = WEFT_NAME_COUNT + 25, [106] = WEFT_NAME_COUNT + 53, [107] = WEFT_NAME_COUNT + 10, [118] = WEFT_NAME_REFERER,
	[119] = WEFT_NAME_COUNT + 8, [123] = WEFT_NAME_ACCESS_CONTROL_REQUEST_METHOD, [128] = WEFT_NAME_TRANSFER_ENCODING,
	[133] = WEFT_NAME_COUNT + 15, [137] = WEFT_NAME_COUNT + 2, [139] = WEFT_NAME_ORIGIN, [147] = WEFT_NAME_COUNT + 24,
	[158] = WEFT_NAME_PRAGMA, [159] = WEFT_NAME_COUNT + 35, [160] = WEFT_NAME_COUNT + 18, [161] = WEFT_NAME_COUNT + 56,
	[166] = WEFT_NAME_COUNT + 32, [170] = WEFT_NAME_COUNT + 55, [184] = WEFT_NAME_COUNT + 33, [191] = WEFT_NAME_IF_UNMODIFIED_SINCE,
	[192] = WEFT_NAME_X_ENVOY_EXTERNAL_ADDRESS, [194] = WEFT_NAME_COUNT + 0, [207] = WEFT_NAME_X_ENVOY_DECORATOR_OPERATION,
	[208] = WEFT_NAME_COUNT + 64, [213] = WEFT_NAME_TE, [214] = WEFT_NAME_COUNT + 46, [216] = WEFT_NAME_GRPC_TIMEOUT,
	[220] = WEFT_NAME_COUNT + 22, [222] = WEFT_NAME_COUNT + 44, [227] = WEFT_NAME_CONTENT_TYPE, [231] = WEFT_NAME_COUNT + 11,
	[239] = WEFT_NAME_COUNT + 16, [240] = WEFT_NAME_COUNT + 42, [251] = WEFT_NAME_COUNT + 4, [253] = WEFT_NAME_COUNT + 41,
	[257] = WEFT_NAME_X_FORWARDED_PORT, [261] = WEFT_NAME_ACCEPT_ENCODING, [267] = WEFT_NAME_USER_AGENT,
	[268] = WEFT_NAME_COUNT + 38, [269] = WEFT_NAME_COUNT + 13, [272] = WEFT_NAME_COUNT + 17, [274] = WEFT_NAME_COUNT + 48,
	[277] = WEFT_NAME_X_FORWARDED_FOR, [283] = WEFT_NAME_COUNT + 62, [296] = WEFT_NAME_COUNT + 23, [303] = WEFT_NAME_COUNT + 47,
	[304] = WEFT_NAME_COUNT + 58, [306] = WEFT_NAME_COUNT + 51, [308] = WEFT_NAME_IF_RANGE, [319] = WEFT_NAME_COUNT + 57,
	[334] = WEFT_NAME_ACCEPT, [335] = WEFT_NAME_COUNT + 14, [338] = WEFT_NAME_COUNT + 50, [342] = WEFT_NAME_COUNT + 39,
	[347] = WEFT_NAME_X_REQUEST_ID, [349] = WEFT_NAME_COUNT + 19, [359] = WEFT_NAME_COUNT + 61, [363] = WEFT_NAME_COUNT + 54,
	[366] = WEFT_NAME_COUNT + 72, [372] = WEFT_NAME_COUNT + 37, [376] = WEFT_NAME_X_CLIENT_TRACE_ID,
	[381] = WEFT_NAME_IF_MODIFIED_SINCE, [386] = WEFT_NAME_COUNT + 21, [387] = WEFT_NAME_COUNT + 69, [388] = WEFT_NAME_COUNT + 52,
	[392] = WEFT_NAME_COUNT + 30, [393] = WEFT_NAME_COUNT + 60, [404] = WEFT_NAME_COUNT + 65, [406] = WEFT_NAME_COUNT + 3,
	[408] = WEFT_NAME_HOST, [412] = WEFT_NAME_X_FORWARDED_CLIENT_CERT, [414] = WEFT_NAME_CONTENT_ENCODING,
	[415] = WEFT_NAME_COUNT + 29, [418] = WEFT_NAME_COUNT + 5, [430] = WEFT_NAME_EXPECT, [431] = WEFT_NAME_COUNT + 20,
	[446] = WEFT_NAME_TRAILER, [449] = WEFT_NAME_CACHE_CONTROL, [452] = WEFT_NAME_COUNT + 7, [463] = WEFT_NAME_COUNT + 40,
	[468] = WEFT_NAME_UPGRADE, [472] = WEFT_NAME_COUNT + 6, [495] = WEFT_NAME_COUNT + 67, [500] = WEFT_NAME_COUNT + 68,
	[502] = WEFT_NAME_X_FORWARDED_PROTO, [504] = WEFT_NAME_COUNT + 31, [506] = WEFT_NAME_IF_NONE_MATCH,
};

/* Which known name the token of `len` bytes at `name` is; `hash` is its weft_name_hash. Up to 31 bytes after it may be read, so it
 * is for names in a head. The comparison is exact because the name holds only token characters and no known name has ^ or ~. */
WEFT_INLINE u32 weft_known_name(const u8 *name, u32 len, u32 hash)
{
	u32 id = weft_name_slots[WEFT_NAME_SLOT(hash)], i;
	const struct weft_known_name *known;

	if (!id || id >= WEFT_NAME_COUNT)
		return WEFT_NAME_UNKNOWN;
	known = &weft_known_names[id & (WEFT_KNOWN_NAMES - 1)];
	if (known->len != len)
		return WEFT_NAME_UNKNOWN;
	for (i = 0; i < WEFT_KNOWN_NAME_MAX; i += 8) {
		u64 word;

		if (i >= len)
			break;
		word = (weft_load8(name + i) | WEFT_EACH(0x20)) ^ weft_load8(known->text + i);
		if (word & weft_first_bytes(len - i))
			return WEFT_NAME_UNKNOWN;
	}
	return id;
}

#endif
