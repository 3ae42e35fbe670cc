/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only */
/* Every way out of the fast path has a name. Counters are arrays indexed by this enum; weftctl prints the names. New reasons go
 * at the end of the part they belong to; the numbers are not part of any stored format. */
#ifndef WEFT_REASON_H
#define WEFT_REASON_H

#define WEFT_REASONS(X) \
	X(NONE, "none") \
	/* the connection */ \
	X(NO_CONNECTION, "no_connection") \
	X(PROXY_ONLY_CONNECTION, "proxy_only_connection") \
	X(PROXY_BUSY, "proxy_busy") \
	X(NOT_DRAINED, "not_drained") \
	X(NOT_DELIVERED, "not_delivered") \
	X(PIPELINED, "pipelined") \
	X(BLOCKING_CLIENT, "blocking_client") \
	X(FAST_PATH_OFF, "fast_path_off") \
	X(NO_SCRATCH, "no_scratch") \
	/* the request's head */ \
	X(PARTIAL_HEAD, "partial_head") \
	X(HEAD_TOO_LARGE, "head_too_large") \
	X(BAD_HEAD, "bad_head") \
	X(NOT_HTTP, "not_http") \
	X(CHUNKED_REQUEST, "chunked_request") \
	X(CONNECTION_CLOSE, "connection_close") \
	X(UPGRADE, "upgrade") \
	X(EXPECT, "expect") \
	X(GRPC, "grpc") \
	X(HTTP_10, "http_10") \
	X(ABSOLUTE_FORM, "absolute_form") \
	X(NORMALIZES, "normalizes") \
	X(PRIVATE_HEADER, "private_header") \
	X(ODD_HEAD, "odd_head") \
	X(BODY_TOO_LARGE, "body_too_large") \
	/* routing */ \
	X(LISTENER_PROXY, "listener_proxy") \
	X(ROUTE_PROXY, "route_proxy") \
	X(ROUTE_REFUSED, "route_refused") \
	X(NOT_FOUND, "not_found") \
	X(IMAGE_MISSING, "image_missing") \
	X(LIMIT_EXCEEDED, "limit_exceeded") \
	X(REGEX_TOO_COMPLEX, "regex_too_complex") \
	/* balancing */ \
	X(NO_CLUSTER, "no_cluster") \
	X(NO_ENDPOINT, "no_endpoint") \
	X(BALANCE_PROXY, "balance_proxy") \
	/* sending */ \
	X(NO_UPSTREAM, "no_upstream") \
	X(UPSTREAM_FULL, "upstream_full") \
	X(LOOKUP_MISS, "lookup_miss") \
	X(BLOCKING_SERVER, "blocking_server") \
	X(SERVER_NOT_DRAINED, "server_not_drained") \
	X(SERVER_NOT_DELIVERED, "server_not_delivered") \
	X(SOCKET_MEMORY, "socket_memory") \
	X(REDIRECT_FAILED, "redirect_failed") \
	X(NO_REMOTE, "no_remote") \
	/* what the route changes in the request's head */ \
	X(EDITS_OFF, "edits_off") \
	X(EDITED_TOO_LARGE, "edited_too_large") \
	X(EDIT_FAILED, "edit_failed") \
	/* local replies */ \
	X(DIRECT_TOO_LARGE, "direct_too_large") \
	X(DIRECT_WITH_BODY, "direct_with_body") \
	X(DIRECT_CONTENT_TYPE, "direct_content_type") \
	/* the response */ \
	X(RESPONSE_BAD_HEAD, "response_bad_head") \
	X(RESPONSE_PARTIAL_HEAD, "response_partial_head") \
	X(RESPONSE_CHUNKED, "response_chunked") \
	X(RESPONSE_TOO_LARGE, "response_too_large") \
	X(RESPONSE_UNTIL_CLOSE, "response_until_close") \
	X(RESPONSE_INTERIM, "response_interim") \
	X(RESPONSE_CLOSE, "response_close") \
	X(RESPONSE_CLIENT_NOT_DRAINED, "response_client_not_drained") \
	X(RESPONSE_CLIENT_FULL, "response_client_full") \
	X(RESPONSE_EARLY, "response_early") \
	X(RESPONSE_CHANGED, "response_changed") \
	X(RESPONSE_LOOKUP_MISS, "response_lookup_miss") \
	X(RESPONSE_EXCESS, "response_excess") \
	X(RESPONSE_SOCKET_MEMORY, "response_socket_memory")

#define WEFT_REASON_ENUM(name, text) WEFT_REASON_##name,
enum weft_reason { WEFT_REASONS(WEFT_REASON_ENUM) WEFT_REASON_COUNT };
#undef WEFT_REASON_ENUM

#ifndef __bpf__
#define WEFT_REASON_TEXT(name, text) text,
static const char *const weft_reason_names[] __attribute__((unused)) = {WEFT_REASONS(WEFT_REASON_TEXT)};
#undef WEFT_REASON_TEXT
#endif

#endif
