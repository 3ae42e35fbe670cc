/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEFT_XDS_CALL_INTERNAL_H
#define WEFT_XDS_CALL_INTERNAL_H

#include <curl/curl.h>

#include "base/curl.h"
#include "xds/call.h"
#include "xds/frame.h"
#include "xds/grpc.h"
#include "xds/h2.h"
#include "xds/transfer.h"

#define BODY_SHOWN_MAX 160 /* bytes of an answer that is no gRPC */
#define CALL_FIELDS_MAX 12

struct message {
	struct message *next;
	struct strbuf bytes;
};

struct xds_call {
	const struct xds_call_options *options;
	struct xds_call_events events;
	void *context;
	struct event_base *base;
	struct event *answer_timer;
	struct xds_secrets secrets;
	struct xds_handshake handshake;

	/* libcurl connects, and in HTTP/1.1 it does all; in HTTP/2 the connection is then h2's */
	enum xds_http http;          /* never XDS_HTTP_ANY once the connection stands */
	struct xds_transfer *transfer;
	struct xds_h2 *h2;
	struct curl_slist *headers, *connect_to;
	char url[XDS_HOST_MAX + XDS_PREFIX_MAX + 300];
	char path[XDS_PREFIX_MAX + 256], authority[XDS_HOST_MAX + 16];
	struct strbuf bearer;
	struct xds_h2_field fields[CALL_FIELDS_MAX];
	size_t field_count;
	char curl_text[CURL_ERROR_SIZE];
	struct curl_keepalive keepalive;

	/* what goes out */
	struct strbuf out;
	size_t out_at;               /* bytes of it that were taken */
	bool is_paused, is_finished; /* the taker found nothing; nothing will come any more */
	bool has_sent;
	bool has_page;               /* an answer that is no gRPC has begun, and its text is waited for */

	/* what came in */
	struct xds_frames frames;
	struct xds_grpc_head head;
	char shown[BODY_SHOWN_MAX + 1]; /* beginning of a body that is no gRPC */
	size_t shown_size;
	struct message *first, **last;  /* whole messages, until libcurl is left */
	int failure;                 /* of frames or memory; 0 */
	bool is_late;                /* no answer in time */
	bool is_cut;                 /* the answer is over, and libcurl does not say so */

	bool is_ready;               /* the connection stands */
	bool is_opened;              /* ... and `opened` was said */
	bool is_over, is_silent;
	uint64_t opened_ms;
};

uint64_t xds_now_ms(void); /* monotonic */

/* call.c: what the two ways of HTTP have in common. */
size_t call_take(struct xds_call *call, void *bytes, size_t size, bool *is_end);
int call_body(struct xds_call *call, const void *bytes, size_t size); /* other than 0: enough */
/* After anything happened, last. `is_done`: nothing will come any more, with libcurl's result. */
void call_settle(struct xds_call *call, bool is_done, CURLcode result);

/* call_setup.c: fields, and what libcurl is told for a connection. */
int call_set_up(struct xds_call *call, char *problem, size_t problem_size);
int call_set_up_transfer(struct xds_call *call);

/* call_http.c: makes the transfer and starts it. */
int call_start(struct xds_call *call);

/* call_end.c: why the call ended, in `text` for people. */
void call_explain(struct xds_call *call, CURLcode result, struct xds_close *why, char *text, size_t text_size);

#endif
