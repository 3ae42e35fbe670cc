/* SPDX-License-Identifier: Apache-2.0 */
/* The two ways on which a call goes. libcurl makes the connection. Where HTTP/2 is spoken, the connection is then handed to nghttp2; over
 * HTTP/1.1, libcurl makes the whole request. Its callbacks run deep inside it, so they only note. */
#include <errno.h>
#include <openssl/ssl.h>
#include <string.h>

#include "xds/call_internal.h"

#define KEEPALIVE_S 20

/* ---- HTTP/1.1, by libcurl -------------------------------------------------------------------------------------------------------- */

static size_t on_read(char *to, size_t unit, size_t count, void *arg)
{
	struct xds_call *call = arg;
	bool is_end = false;
	size_t size;

	call->is_ready = true;
	if (call->is_cut)
		return CURL_READFUNC_ABORT;
	size = call_take(call, to, unit * count, &is_end);
	return size || is_end ? size : CURL_READFUNC_PAUSE;
}

static size_t on_header(char *line, size_t unit, size_t count, void *arg)
{
	struct xds_call *call = arg;

	call->failure = xds_grpc_head_line(&call->head, line, unit * count);
	return call->failure ? 0 : unit * count;
}

static size_t on_write(char *bytes, size_t unit, size_t count, void *arg)
{
	return call_body(arg, bytes, unit * count) ? 0 : unit * count;
}

static void on_http1_settled(void *arg, bool is_done, CURLcode result)
{
	struct xds_call *call = arg;

	/* libcurl waits for an upload that is paused, even when the answer has come to its end and it watches nothing any more. */
	if (!is_done && !call->is_over && !call->is_cut && call->is_paused && !xds_transfer_has_sockets(call->transfer)) {
		call->is_cut = true;
		xds_transfer_resume(call->transfer);
	}
	call_settle(call, is_done, result);
}

/* ---- HTTP/2, by nghttp2 ---------------------------------------------------------------------------------------------------------- */

static int on_h2_field(void *arg, const char *name, size_t name_size, const char *value, size_t value_size)
{
	struct xds_call *call = arg;

	return call->failure = xds_grpc_head_field(&call->head, name, name_size, value, value_size);
}

static int on_h2_data(void *arg, const void *bytes, size_t size)
{
	return call_body(arg, bytes, size);
}

static size_t on_h2_take(void *arg, void *bytes, size_t size, bool *is_end)
{
	return call_take(arg, bytes, size, is_end);
}

static void on_h2_settled(void *arg)
{
	struct xds_call *call = arg;
	struct xds_h2_state state;

	xds_h2_get_state(call->h2, &state);
	call_settle(call, state.is_over, CURLE_OK);
}

static int start_h2(struct xds_call *call)
{
	static const struct xds_h2_events events = { on_h2_field, on_h2_data, on_h2_take, on_h2_settled };
	uint32_t keepalive_s = call->options->keepalive_s ? call->options->keepalive_s : KEEPALIVE_S;

	call->is_ready = true;
	return xds_h2_new(&call->h2, call->base, xds_transfer_easy(call->transfer), call->fields, call->field_count, keepalive_s, &events, call);
}

/* ---- from the connection on ------------------------------------------------------------------------------------------------------ */

static void on_connected(void *arg, bool is_done, CURLcode result)
{
	struct xds_call *call = arg;
	int r = 0;

	if (!is_done || call->is_over || call->h2) {
		call_settle(call, false, CURLE_OK);
		return;
	}
	if (result == CURLE_OK && (!call->options->address->is_tls || strcmp(call->handshake.alpn, "h2") == 0)) {
		call->http = XDS_HTTP_2;
		r = start_h2(call);
	} else if (result == CURLE_OK && call->http == XDS_HTTP_ANY) {
		/* gRPC-Web goes over HTTP/1.1 too, on a connection that is libcurl's alone. */
		call->http = XDS_HTTP_1;
		xds_transfer_free(&call->transfer);
		r = call_start(call);
		if (r == 0)
			return;
	} else {
		call_settle(call, true, result);
		return;
	}
	call->failure = r;
	call_settle(call, r != 0, CURLE_OUT_OF_MEMORY);
}

static CURLcode on_ssl_ctx(CURL *easy, void *ctx, void *arg)
{
	static const unsigned char h2[] = "\2h2", any[] = "\2h2\10http/1.1";
	struct xds_call *call = arg;

	(void)easy;
	xds_handshake_watch(&call->handshake, ctx);
	if (call->http == XDS_HTTP_2)
		SSL_CTX_set_alpn_protos(ctx, h2, sizeof(h2) - 1);
	else if (call->http == XDS_HTTP_ANY)
		SSL_CTX_set_alpn_protos(ctx, any, sizeof(any) - 1);
	return CURLE_OK;
}

int call_start(struct xds_call *call)
{
	bool is_http1 = call->http == XDS_HTTP_1;
	CURL *easy;
	int r;

	r = xds_transfer_new(&call->transfer, call->base, is_http1 ? on_http1_settled : on_connected, call);
	if (r)
		return r;
	easy = xds_transfer_easy(call->transfer);
	r = call_set_up_transfer(call);
	if (r)
		return r;
	curl_easy_setopt(easy, CURLOPT_SSL_CTX_FUNCTION, on_ssl_ctx);
	curl_easy_setopt(easy, CURLOPT_SSL_CTX_DATA, call);
	if (!is_http1) {
		curl_easy_setopt(easy, CURLOPT_CONNECT_ONLY, 1L);
		return xds_transfer_start(call->transfer);
	}
	curl_easy_setopt(easy, CURLOPT_POST, 1L);
	curl_easy_setopt(easy, CURLOPT_HTTPHEADER, call->headers);
	curl_easy_setopt(easy, CURLOPT_READFUNCTION, on_read);
	curl_easy_setopt(easy, CURLOPT_READDATA, call);
	curl_easy_setopt(easy, CURLOPT_HEADERFUNCTION, on_header);
	curl_easy_setopt(easy, CURLOPT_HEADERDATA, call);
	curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, on_write);
	curl_easy_setopt(easy, CURLOPT_WRITEDATA, call);
	return xds_transfer_start(call->transfer);
}
