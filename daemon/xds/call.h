/* SPDX-License-Identifier: Apache-2.0 */
/* One gRPC call from connection to status, on a connection of its own. A stream makes one after the other; a certificate is asked for by one. */
#ifndef WEFT_XDS_CALL_H
#define WEFT_XDS_CALL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/strbuf.h"
#include "xds/address.h"
#include "xds/credentials.h"
#include "xds/stream.h"

struct event_base;
struct xds_call;

/* Used until the call is freed. */
struct xds_call_options {
	const struct xds_address *address;
	const struct xds_credentials *credentials;
	const char *path;
	uint32_t message_max_bytes;
	uint32_t answer_ms;         /* how long the server may take for its first byte after the call was opened and something sent; 0: for ever */
	uint32_t keepalive_s;       /* idle time until TCP asks whether the peer lives; three answers missing end the call. 0: 20 */
};

/* All from the event loop. `settled` comes after each round of the others, and only it may free the call. */
struct xds_call_events {
	void (*opened)(void *context);
	void (*message)(void *context, const void *bytes, size_t size);
	void (*ended)(void *context, const struct xds_close *why); /* the last one but `settled`; without will_retry and retry_ms */
	void (*settled)(void *context);
};

/* 0, -ENOMEM, or -errno with a sentence about files that can't be used: there is no call then. */
int xds_call_new(struct xds_call **out, struct event_base *base, const struct xds_call_options *options, const struct xds_call_events *events,
		 void *context, char *problem, size_t problem_size);
int xds_call_send(struct xds_call *call, const void *bytes, size_t size); /* copies */
void xds_call_finish(struct xds_call *call);                             /* no further messages will be sent */
void xds_call_silence(struct xds_call *call);                            /* no event but `settled` from now on */
uint64_t xds_call_queued_bytes(const struct xds_call *call);
void xds_call_free(struct xds_call **call);

/* Can this build of libcurl do what the address needs? 0, or -ENOTSUP with what is missing. */
int xds_call_check(const struct xds_address *address, char *problem, size_t problem_size);

#endif
