/* SPDX-License-Identifier: Apache-2.0 */
/* Why a call ended. Several things may be true of one end, and the one that helps most is said: what the server said before what the
 * connection did, something on the way that is no gRPC server before either. */
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "xds/call_internal.h"

/* The host and port that people gave. */
static void peer_text(const struct xds_call *call, char *out, size_t size)
{
	const struct xds_address *address = call->options->address;

	snprintf(out, size, address->is_ipv6 ? "[%s]:%u" : "%s:%u", address->host, address->port);
}

/* The beginning of a page, in one line. */
static void shown_text(struct xds_call *call)
{
	for (size_t i = 0; i < call->shown_size; i++) {
		if ((uint8_t)call->shown[i] < ' ' || call->shown[i] == 0x7f)
			call->shown[i] = ' ';
	}
}

static void explain_http(struct xds_call *call, struct xds_close *why, const char *peer, char *text, size_t size)
{
	const struct xds_grpc_head *head = &call->head;
	const char *hint = "";

	why->kind = XDS_CLOSE_HTTP;
	shown_text(call);
	if (head->http_status == 415 && head->is_web)
		hint = "; istiod itself does not speak gRPC-Web, a gateway must translate it";
	else if (head->http_status == 200 && head->is_web)
		hint = "; this is no gRPC-Web server";
	else if (head->http_status == 200)
		hint = "; this is no gRPC server";
	else if (head->http_status == 502 || head->http_status == 503 || head->http_status == 504)
		hint = "; a proxy before istiod can't reach it";
	snprintf(text, size, "%s answered HTTP %u, content-type \"%s\"%s%s%s%s", peer, head->http_status, head->content_type, hint,
		 call->shown[0] ? ": \"" : "", call->shown, call->shown[0] ? "\"" : "");
}

static void explain_status(struct xds_call *call, struct xds_close *why, const char *peer, char *text, size_t size)
{
	const struct xds_secrets *secrets = &call->secrets;
	char number[16], when[32], expired[128] = "";

	why->kind = call->head.grpc_status == XDS_GRPC_OK ? XDS_CLOSE_ENDED : XDS_CLOSE_STATUS;
	if (call->head.grpc_status == XDS_GRPC_UNAUTHENTICATED && secrets->token_expires_s && secrets->token_expires_s < (int64_t)time(NULL)) {
		xds_time_text(secrets->token_expires_s, when);
		snprintf(expired, sizeof(expired), "; the token says that it expired on %s", when);
	}
	if (why->kind == XDS_CLOSE_ENDED)
		snprintf(text, size, "%s ended the call", peer);
	else
		snprintf(text, size, "%s answered %s: %s%s", peer, xds_grpc_status_name(call->head.grpc_status, number), strbuf_text(&call->head.message), expired);
}

static void explain_connect(struct xds_call *call, CURLcode result, const char *peer, char *text, size_t size)
{
	const char *curl = call->curl_text[0] ? call->curl_text : curl_easy_strerror(result);

	if (call->handshake.problem[0])
		snprintf(text, size, "%s can't be trusted: %s", peer, call->handshake.problem);
	else if (result == CURLE_PEER_FAILED_VERIFICATION && call->handshake.names[0])
		snprintf(text, size, "%s can't be trusted: %s; it is for %s", peer, curl, call->handshake.names);
	else if (result == CURLE_OK)
		snprintf(text, size, "%s does not speak HTTP/2, which gRPC needs: by ALPN it agreed to %s", peer,
			 call->handshake.alpn[0] ? call->handshake.alpn : "nothing");
	else
		snprintf(text, size, "no connection to %s: %s", peer, curl);
}

static void explain_broken(struct xds_call *call, CURLcode result, const char *peer, char *text, size_t size)
{
	struct xds_h2_state h2 = { 0 };
	size_t used;

	if (call->h2)
		xds_h2_get_state(call->h2, &h2);
	if (call->is_late)
		snprintf(text, size, "%s does not answer: %u ms have passed", peer, call->options->answer_ms);
	else if (h2.is_reset)
		snprintf(text, size, "%s reset the call: %s", peer, xds_h2_code_name(h2.reset_code));
	else if (h2.problem[0])
		snprintf(text, size, "connection to %s: %s", peer, h2.problem);
	else if (result != CURLE_OK)
		snprintf(text, size, "connection to %s: %s", peer, call->curl_text[0] ? call->curl_text : curl_easy_strerror(result));
	else
		snprintf(text, size, "%s ended the call without a status", peer);
	used = strlen(text);
	if (h2.has_goaway)
		used += (size_t)snprintf(text + used, size - used, ", after GOAWAY %s%s%s%s", xds_h2_code_name(h2.goaway_code), h2.goaway_text[0] ? " \"" : "",
					 h2.goaway_text, h2.goaway_text[0] ? "\"" : "");
	if (!xds_frames_are_whole(&call->frames) && used < size)
		snprintf(text + used, size - used, ", in the middle of a message of %u bytes", call->frames.wanted);
}

/* The server is to end connections for age: that is said by GOAWAY, and what lived on it comes to its end with or without a status. */
static bool has_ended_in_order(const struct xds_call *call)
{
	struct xds_h2_state h2 = { 0 };

	if (call->h2)
		xds_h2_get_state(call->h2, &h2);
	return h2.has_goaway && h2.goaway_code == 0 && !call->is_late && xds_frames_are_whole(&call->frames) && call->head.http_status == 200;
}

void call_explain(struct xds_call *call, CURLcode result, struct xds_close *why, char *text, size_t size)
{
	const struct xds_grpc_head *head = &call->head;
	char peer[XDS_HOST_MAX + 16];

	peer_text(call, peer, sizeof(peer));
	*why = (struct xds_close){ .was_opened = call->is_opened, .grpc_status = head->grpc_status, .grpc_message = strbuf_text(&head->message),
				   .http_status = head->http_status, .reason = text,
				   .lived_ms = call->is_opened ? xds_now_ms() - call->opened_ms : 0 };
	if (call->failure) {
		why->kind = XDS_CLOSE_MALFORMED;
		snprintf(text, size, "%s sent %s", peer, call->frames.problem[0] ? call->frames.problem : "more than there is memory for");
	} else if (!call->is_opened) {
		why->kind = XDS_CLOSE_CONNECT;
		explain_connect(call, result, peer, text, size);
	} else if (head->http_status && !xds_grpc_head_is_good(head)) {
		explain_http(call, why, peer, text, size);
	} else if (head->http_status && head->grpc_status != -1 && xds_frames_are_whole(&call->frames)) {
		explain_status(call, why, peer, text, size);
	} else {
		why->kind = has_ended_in_order(call) ? XDS_CLOSE_ENDED : XDS_CLOSE_BROKEN;
		explain_broken(call, result, peer, text, size);
	}
}
