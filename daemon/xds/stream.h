/* SPDX-License-Identifier: Apache-2.0 */
/* One bidirectional gRPC call of messages, over gRPC or gRPC-Web, which begins anew by itself whenever it ends.
 *
 * It knows nothing of what the messages say. A call goes through `opened`, any number of `message`, and `closed`; then the next one begins, at
 * once where the last one had lived (a server ends calls for age), else after a pause that doubles from 10 ms to 15 s. All
 * events come from the event loop, never from within a function of this header, and any function of it may be called from them. */
#ifndef WEFT_XDS_STREAM_H
#define WEFT_XDS_STREAM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define XDS_MESSAGE_MAX (200u << 20)
#define XDS_ADS_PATH "/envoy.service.discovery.v3.AggregatedDiscoveryService/StreamAggregatedResources"

struct event_base;
struct xds_stream;

/* Strings are copied; NULL is "none". Files are read again for each call, so that what was rotated counts. */
struct xds_stream_options {
	const char *address;        /* as in address.h; NULL is not allowed */
	const char *path;           /* NULL: XDS_ADS_PATH */
	const char *name;           /* whose stream it is, for the log: "namespace default" */

	/* over TLS */
	const char *root_cert_file; /* PEM; NULL: those of the system */
	const char *server_name;    /* what the server's certificate must be for; NULL: the address's host */
	const char *token_file;     /* Authorization: Bearer; not sent together with a certificate */
	const char *cluster_id;     /* header clusterid */
	const char *cert_file, *key_file; /* PEM: the client's certificate */

	uint32_t message_max_bytes; /* 0: XDS_MESSAGE_MAX; a larger one ends the call before it is read */
	uint32_t retry_min_ms, retry_max_ms; /* 0: 10 ms, 15 s */
	uint32_t keepalive_s;       /* of silence until TCP asks whether the server lives, three times; 0: 20 */
};

enum xds_close_kind {
	XDS_CLOSE_ENDED,     /* by the server, without an error: grpc-status 0 */
	XDS_CLOSE_STATUS,    /* by the server, with another grpc-status */
	XDS_CLOSE_HTTP,      /* something on the way, or no gRPC server: an HTTP status, a content type that isn't gRPC's */
	XDS_CLOSE_CONNECT,   /* no connection: name, refusal, TLS, certificates, files that can't be read */
	XDS_CLOSE_BROKEN,    /* the connection or the call was cut: reset, GOAWAY, end without a status, no sign of life */
	XDS_CLOSE_MALFORMED, /* bytes that are no gRPC, a message that is too large */
	XDS_CLOSE_RESTARTED, /* xds_stream_restart() */
};

struct xds_close {
	enum xds_close_kind kind;
	bool was_opened;          /* `opened` came for this call */
	int grpc_status;          /* -1: none came */
	const char *grpc_message; /* decoded; "" when there is none */
	uint32_t http_status;     /* 0: none came */
	const char *reason;       /* all of it in one line, for people */
	uint64_t lived_ms;        /* since `opened` */
	bool will_retry;          /* always, unless this build of libcurl can't */
	uint32_t retry_ms;        /* 0: at once */
};

/* What a callback gets is valid during the call. */
struct xds_stream_events {
	/* There is a connection and a new call on it, for which nothing was sent yet: whatever a call begins with goes out now. */
	void (*opened)(struct xds_stream *stream, void *context);
	/* One whole message, without gRPC's prefix. */
	void (*message)(struct xds_stream *stream, const void *bytes, size_t size, void *context);
	/* What was queued and not sent is gone. NULL is allowed. */
	void (*closed)(struct xds_stream *stream, const struct xds_close *why, void *context);
};

struct xds_stream_stats {
	bool is_open;               /* between `opened` and `closed` */
	uint64_t connects;          /* calls that were opened */
	uint64_t failures;          /* calls that ended otherwise than XDS_CLOSE_ENDED and _RESTARTED */
	uint64_t messages_received, bytes_received; /* whole messages, their sizes */
	uint64_t messages_sent, bytes_sent;         /* handed to libcurl */
	uint64_t queued_bytes;      /* not yet handed over */
	uint64_t connected_unix_ms; /* when the open call was opened; 0: none is */
	uint64_t answered_unix_ms;  /* last message; 0: none yet */
	uint64_t retry_unix_ms;     /* when the next call begins; 0: one is under way */
	uint64_t error_unix_ms;     /* when `last_error` was; 0: never */
	const char *last_error;     /* "" or the reason of the last failure; valid until the next event */
};

/* The first call begins from the event loop. -EINVAL with a line in the log: address; -ENOTSUP likewise: this libcurl can't; -ENOMEM. */
int xds_stream_new(struct xds_stream **out, struct event_base *base, const struct xds_stream_options *options,
		   const struct xds_stream_events *events, void *context);

/* Copies a message and queues it behind those before it. -ENOTCONN: no call is open, the next one will say so; -ENOMEM. */
int xds_stream_send(struct xds_stream *stream, const void *bytes, size_t size);

/* Ends what there is (`closed` follows) and begins a new call at once. */
void xds_stream_restart(struct xds_stream *stream);

/* The certificate chain and key (PEM) that the next calls authenticate with; NULL: none. An open call goes on with what it began with. */
int xds_stream_set_certificate(struct xds_stream *stream, const char *chain_pem, const char *key_pem);

void xds_stream_get_stats(const struct xds_stream *stream, struct xds_stream_stats *out);

/* No event comes any more. */
void xds_stream_free(struct xds_stream **stream);

#endif
