/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only */
/* What the parser says about one message head: spans into the head buffer and decided framing, never copies. */
#ifndef WEFT_HEAD_H
#define WEFT_HEAD_H

#include "weft/base.h"

#define WEFT_KERNEL_HEAD_MAX 4096u  /* bytes of a head that the kernel reads; longer heads are the proxy's */
#define WEFT_KERNEL_FIELDS_MAX 48u  /* header lines that the kernel reads */
#define WEFT_PROXY_HEAD_MAX 61440u  /* 60 KiB; beyond: 431 (Envoy: max_request_headers_kb) */
#define WEFT_PROXY_FIELDS_MAX 100u  /* with Host; beyond: 431 (Envoy: max_headers_count) */

#ifdef __bpf__
#define WEFT_FIELDS_MAX WEFT_KERNEL_FIELDS_MAX
#else
#define WEFT_FIELDS_MAX WEFT_PROXY_FIELDS_MAX
#endif

/* The bytes a parser reads. In BPF: a per-CPU map value of fixed size, so that masked offsets stay inside (the slack is for
 * 8-byte loads). On the host: the caller's bytes with at least 8 readable bytes after `len`. */
#define WEFT_HEAD_SLACK 64u
#ifdef __bpf__
struct weft_head_bytes {
	u8 data[WEFT_KERNEL_HEAD_MAX + WEFT_HEAD_SLACK];
};
#else
struct weft_head_bytes {
	u8 data[1]; /* really `len` + 8 bytes: cast the buffer's address */
};
#endif

enum weft_parse {
	WEFT_PARSE_DONE = 0,
	WEFT_PARSE_MORE = 1,        /* no fault so far, the blank line has not come */
	WEFT_PARSE_BAD = 2,         /* 400 and close: `error` says why */
	WEFT_PARSE_TOO_LARGE = 3,   /* 431: too long, or too many fields */
	WEFT_PARSE_VERSION = 4,     /* 426: a well-formed version that is not served */
	WEFT_PARSE_NOT_HTTP = 5,    /* the first bytes can't begin an HTTP/1 request */
	WEFT_PARSE_CODING = 6,      /* 501: a transfer coding other than a single chunked */
	WEFT_PARSE_PREFACE = 7,     /* the HTTP/2 connection preface */
};

enum weft_parse_error {
	WEFT_ERROR_NONE = 0,
	WEFT_ERROR_REQUEST_LINE,
	WEFT_ERROR_METHOD,
	WEFT_ERROR_TARGET,
	WEFT_ERROR_VERSION,
	WEFT_ERROR_LINE_END,          /* bare CR or bare LF */
	WEFT_ERROR_NAME,              /* empty or non-token name, white space before the colon or the first field */
	WEFT_ERROR_FOLD,              /* obs-fold */
	WEFT_ERROR_VALUE,             /* NUL or control character */
	WEFT_ERROR_CONTENT_LENGTH,
	WEFT_ERROR_TRANSFER_ENCODING,
	WEFT_ERROR_LENGTH_AND_CODING, /* Content-Length with Transfer-Encoding */
	WEFT_ERROR_HOST,
	WEFT_ERROR_CONNECTION,
	WEFT_ERROR_CONNECTION_HOST,   /* Connection names host: the request is left without one */
	WEFT_ERROR_STATUS_LINE,
	WEFT_ERROR_COUNT
};

/* Facts about a head; several decide that only the proxy may carry the message. */
#define WEFT_HEAD_CONTENT_LENGTH 0x00000001u
#define WEFT_HEAD_CHUNKED 0x00000002u
#define WEFT_HEAD_CLOSE 0x00000004u           /* Connection has close */
#define WEFT_HEAD_KEEP_ALIVE 0x00000008u      /* Connection has keep-alive */
#define WEFT_HEAD_CONNECTION_OTHER 0x00000010u /* Connection names anything else */
#define WEFT_HEAD_UPGRADE 0x00000020u         /* an Upgrade field */
#define WEFT_HEAD_EXPECT_CONTINUE 0x00000040u
#define WEFT_HEAD_EXPECT_OTHER 0x00000080u
#define WEFT_HEAD_TE 0x00000100u
#define WEFT_HEAD_HTTP_10 0x00000200u
#define WEFT_HEAD_ABSOLUTE_FORM 0x00000400u
#define WEFT_HEAD_ASTERISK 0x00000800u
#define WEFT_HEAD_CONNECT 0x00001000u
#define WEFT_HEAD_NORMALIZES 0x00002000u      /* path normalisation would change or refuse the target, or it has a fragment */
#define WEFT_HEAD_PRIVATE 0x00004000u         /* a field that Envoy strips or acts upon: x-envoy-*, x-forwarded-client-cert,
                                                 proxy-connection, an x-forwarded-proto that is neither http nor https, the
                                                 length of a 204 ... */
#define WEFT_HEAD_REPEATED_JOINED 0x00008000u /* a field that Envoy joins came twice (FACTS "Header and query matchers") */
#define WEFT_HEAD_NO_BODY 0x00010000u         /* response: 1xx, 204, 304 or an answer to HEAD */
#define WEFT_HEAD_UNTIL_CLOSE 0x00020000u     /* response: neither length nor chunked */
#define WEFT_HEAD_SLASHES 0x00040000u         /* `//` in the path: merge_slashes would change it */
#define WEFT_HEAD_ODD 0x00080000u             /* well-formed, but spaced or begun in a way that the proxy repairs
                                                 (several spaces in the line, empty lines before it, white space after the version, keep-alive said twice) */
#define WEFT_HEAD_WEBSOCKET 0x00100000u       /* Upgrade: websocket alone and Connection: upgrade */
#define WEFT_HEAD_TRAILER 0x00200000u
#define WEFT_HEAD_CONNECTION_UPGRADE 0x00400000u /* Connection has upgrade */
#define WEFT_HEAD_FRAGMENT 0x00800000u        /* the target has a fragment: it is cut, whatever the listener */
#define WEFT_HEAD_ESCAPED_SLASHES 0x01000000u /* %2F or %5C in the path */
#define WEFT_HEAD_CONTENT_TYPE 0x02000000u    /* request: a Content-Type; it may be gRPC's, which is answered in another form */
#define WEFT_HEAD_ABSOLUTE_OTHER 0x04000000u  /* an absolute target that is https://, an IPv6 address, a query without a path, or has FORWARDED_HTTPS */
#define WEFT_HEAD_FORWARDED_HTTPS 0x08000000u /* request: one x-forwarded-proto, which is https */
#define WEFT_HEAD_GRPC 0x10000000u            /* Content-Type begins with application/grpc: retried by what its answer says, which only the proxy does */

/* A request that the kernel reads a second time, as Envoy would write it: weft/canonical.h */
#define WEFT_HEAD_NOT_CANONICAL (WEFT_HEAD_ABSOLUTE_FORM | WEFT_HEAD_REPEATED_JOINED)

/* An exchange with any of these is never the kernel's. */
#define WEFT_REQUEST_PROXY_ONLY \
	(WEFT_HEAD_CHUNKED | WEFT_HEAD_CLOSE | WEFT_HEAD_CONNECTION_OTHER | WEFT_HEAD_UPGRADE | WEFT_HEAD_EXPECT_CONTINUE | \
	 WEFT_HEAD_EXPECT_OTHER | WEFT_HEAD_TE | WEFT_HEAD_HTTP_10 | WEFT_HEAD_ABSOLUTE_OTHER | WEFT_HEAD_ASTERISK | WEFT_HEAD_CONNECT | \
	 WEFT_HEAD_PRIVATE | WEFT_HEAD_ODD | WEFT_HEAD_TRAILER | WEFT_HEAD_GRPC)
#define WEFT_RESPONSE_PROXY_ONLY \
	(WEFT_HEAD_CLOSE | WEFT_HEAD_CONNECTION_OTHER | WEFT_HEAD_UPGRADE | WEFT_HEAD_HTTP_10 | WEFT_HEAD_UNTIL_CLOSE | \
	 WEFT_HEAD_PRIVATE | WEFT_HEAD_REPEATED_JOINED | WEFT_HEAD_ODD | WEFT_HEAD_TRAILER)

enum weft_method {
	WEFT_METHOD_OTHER = 0, /* not in Envoy's list: 400 */
	WEFT_METHOD_GET,
	WEFT_METHOD_HEAD,
	WEFT_METHOD_POST,
	WEFT_METHOD_PUT,
	WEFT_METHOD_DELETE,
	WEFT_METHOD_PATCH,
	WEFT_METHOD_OPTIONS,
	WEFT_METHOD_TRACE,
	WEFT_METHOD_CONNECT,
	WEFT_METHOD_LISTED, /* any other of Envoy's list */
};

struct weft_field {
	u32 name_hash; /* weft_name_hash: over the lower-cased name, finished */
	struct weft_span name;
	struct weft_span value; /* trimmed of space and tab; in a response with WEFT_HEAD_ODD it may hold CR and LF: drop those bytes */
};

struct weft_head {
	u32 head_len;  /* through the blank line */
	u32 flags;     /* WEFT_HEAD_* */
	u64 content_length;
	u16 status;    /* responses */
	u8 method;     /* enum weft_method */
	u8 error;      /* enum weft_parse_error */
	u16 field_count;
	struct weft_span method_span;
	struct weft_span target;    /* as sent */
	struct weft_span path;      /* target up to ? or # */
	struct weft_span authority; /* value of Host, or the authority of an absolute target without its userinfo */
	struct weft_span connection; /* of a Connection line with nothing but keep-alive, whole; len 0: none */
	u16 host_len;               /* bytes of authority before the port's colon, if it has one; else all */
	u32 host_hash;              /* weft_host_hash of those; 0: not computed */
	struct weft_field fields[WEFT_FIELDS_MAX];
};

/* Envoy says `content-length: 0` upstream for a request without a body, unless its method never has one. */
WEFT_INLINE bool weft_method_has_length(u32 method)
{
	return method != WEFT_METHOD_GET && method != WEFT_METHOD_HEAD && method != WEFT_METHOD_DELETE && method != WEFT_METHOD_TRACE &&
	       method != WEFT_METHOD_CONNECT;
}

/* A request of which Envoy says so. */
WEFT_INLINE bool weft_lacks_length(const struct weft_head *head)
{
	return !(head->flags & (WEFT_HEAD_CONTENT_LENGTH | WEFT_HEAD_CHUNKED)) && weft_method_has_length(head->method);
}

#endif
