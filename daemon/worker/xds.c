/* SPDX-License-Identifier: Apache-2.0 */
/* The connections to istiod: one for each namespace with pods of this node. Over grpcs:// each authenticates as a workload of its namespace, with
 * a certificate that istiod signs on the word of weft's own token; everywhere else as weft itself, or as nobody. */
#include <curl/curl.h>
#include <errno.h>
#include <event2/event.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/log.h"
#include "keeper/options.h"
#include "worker/internal.h"
#include "xds/address.h"
#include "xds/identity.h"
#include "xds/pace.h"
#include "xds/scope.h"
#include "xds/stream.h"

#define ROOT_CERT "/var/run/secrets/istio/root-cert.pem"
#define TOKEN "/var/run/secrets/tokens/istio-token"
#define SERVER_NAME "istiod.istio-system.svc"

/* Endpoints that come faster are published together: each publication costs programs and proxy some of the processors, and requests their time. */
#define PUBLISH_EVERY_MS 50
#define PUBLISH_BURST 8

struct transport {
	struct worker *worker;
	struct serving *serving;
	struct xds_identity *identity; /* NULL: weft's own */
	struct xds_stream *stream;     /* NULL until a certificate is there */
	struct event *flush_event;     /* when what has come was read */
	struct xds_pace pace;          /* of publishing what was gathered */
	char *name;
};

static void transport_free(struct transport **pointer)
{
	struct transport *transport = TAKE_PTR(*pointer);

	if (!transport)
		return;
	xds_stream_free(&transport->stream);
	if (transport->flush_event)
		event_free(transport->flush_event);
	xds_identity_free(&transport->identity);
	free(transport->name);
	free(transport);
}

/* ---- a stream and the state that is fed by it -------------------------------------------------------------------------------------- */

static void on_opened(struct xds_stream *stream, void *context)
{
	struct transport *transport = context;
	int r = xds_scope_opened(transport->serving->stream, worker_now_ms());

	if (r) {
		log_err(r, "%s: subscribing", transport->name);
		xds_stream_restart(stream);
	}
}

/* After this read, which may bring more; or when it is time. */
static void flush_soon(struct transport *transport)
{
	uint32_t wait_ms = xds_pace_wait(&transport->pace, worker_now_ms());
	const struct timeval wait = { .tv_usec = (suseconds_t)wait_ms * 1000 };

	if (!wait_ms || !xds_scope_has_gathered(transport->serving->stream))
		event_active(transport->flush_event, EV_TIMEOUT, 0);
	else if (!evtimer_pending(transport->flush_event, NULL))
		evtimer_add(transport->flush_event, &wait);
}

static void on_message(struct xds_stream *stream, const void *bytes, size_t size, void *context)
{
	struct transport *transport = context;
	int r = xds_scope_response(transport->serving->stream, bytes, size, worker_now_ms());

	if (r) {
		log_err(r, "%s: %zu bytes that came are no DiscoveryResponse; the stream begins anew", transport->name, size);
		xds_stream_restart(stream);
		return;
	}
	flush_soon(transport);
}

static void on_flush(evutil_socket_t fd, short what, void *arg)
{
	struct transport *transport = arg;
	uint64_t now_ms = worker_now_ms();
	int r;

	(void)fd;
	(void)what;
	if (!xds_scope_has_gathered(transport->serving->stream))
		return;
	xds_pace_done(&transport->pace, now_ms);
	r = xds_scope_flush(transport->serving->stream, now_ms);
	if (r) {
		log_err(r, "%s: publishing endpoints; the stream begins anew", transport->name);
		xds_stream_restart(transport->stream);
	}
}

static void on_closed(struct xds_stream *stream, const struct xds_close *why, void *context)
{
	struct transport *transport = context;

	(void)stream;
	(void)why;
	xds_scope_closed(transport->serving->stream);
}

static int begin_stream(struct transport *transport)
{
	static const struct xds_stream_events events = { on_opened, on_message, on_closed };
	const struct options *options = transport->worker->config->options;
	const struct xds_stream_options stream = {
		.address = options->xds,
		.name = transport->name,
		.root_cert_file = transport->worker->xds.root_cert_file,
		.server_name = transport->worker->xds.server_name,
		.token_file = transport->worker->xds.token_file,
		.cluster_id = options->xds_cluster_id,
		.cert_file = options->xds_cert,
		.key_file = options->xds_key,
	};

	return xds_stream_new(&transport->stream, transport->worker->base, &stream, &events, transport);
}

static void on_certificate(void *context, const char *chain_pem, const char *key_pem)
{
	struct transport *transport = context;
	int r = transport->stream ? 0 : begin_stream(transport);

	if (r == 0)
		r = xds_stream_set_certificate(transport->stream, chain_pem, key_pem);
	if (r)
		log_err(r, "%s: taking its certificate", transport->name);
}

static int begin_identity(struct transport *transport)
{
	static const struct xds_identity_events events = { on_certificate };
	const struct options *options = transport->worker->config->options;
	_cleanup_(strbuf_release) struct strbuf spiffe = STRBUF_INIT;
	const struct xds_identity_options identity = {
		.address = options->xds,
		.root_cert_file = transport->worker->xds.root_cert_file,
		.server_name = transport->worker->xds.server_name,
		.token_file = transport->worker->xds.token_file,
		.cluster_id = options->xds_cluster_id,
		.spiffe = strbuf_printf(&spiffe, "spiffe://%s/ns/%s/sa/%s", options->xds_trust_domain, transport->serving->name,
					transport->serving->service_account) ? NULL : strbuf_text(&spiffe),
	};

	if (!identity.spiffe)
		return -ENOMEM;
	return xds_identity_new(&transport->identity, transport->worker->base, &identity, &events, transport);
}

/* ---- for scopes.c ------------------------------------------------------------------------------------------------------------------ */

static int begin(struct worker *worker, struct serving *serving)
{
	_cleanup_(transport_free) struct transport *transport = calloc(1, sizeof(*transport));
	int r;

	if (!transport)
		return -ENOMEM;
	transport->worker = worker;
	transport->serving = serving;
	transport->pace = (struct xds_pace){ .every_ms = PUBLISH_EVERY_MS, .burst = PUBLISH_BURST };
	if (asprintf(&transport->name, "namespace %s", serving->name) < 0) {
		transport->name = NULL;
		return -ENOMEM;
	}
	transport->flush_event = evtimer_new(worker->base, on_flush, transport);
	if (!transport->flush_event)
		return -ENOMEM;
	xds_scope_gather(serving->stream);
	r = worker->xds.asks_for_identities ? begin_identity(transport) : begin_stream(transport);
	if (r)
		return r;
	serving->transport = TAKE_PTR(transport);
	return 0;
}

static void end(struct worker *worker, struct serving *serving)
{
	struct transport *transport = serving->transport;

	(void)worker;
	serving->transport = NULL;
	transport_free(&transport);
}

static void on_send(struct worker *worker, struct serving *serving, const void *bytes, size_t size)
{
	struct transport *transport = serving->transport;
	int r = transport && transport->stream ? xds_stream_send(transport->stream, bytes, size) : -ENOTCONN;

	(void)worker;
	/* What can't be sent because there is no call is said again when there is one. */
	if (r && r != -ENOTCONN) {
		log_err(r, "%s: sending; the stream begins anew", transport->name);
		xds_stream_restart(transport->stream);
	}
}

static json_t *describe_stream(const struct xds_stream *stream)
{
	struct xds_stream_stats s = { .last_error = "" };

	if (stream)
		xds_stream_get_stats(stream, &s);
	return json_pack("{s:b, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:s}", "is_open", s.is_open, "connects", (json_int_t)s.connects,
			 "failures", (json_int_t)s.failures, "messages_received", (json_int_t)s.messages_received, "bytes_received",
			 (json_int_t)s.bytes_received, "messages_sent", (json_int_t)s.messages_sent, "bytes_sent", (json_int_t)s.bytes_sent,
			 "connected_unix_ms", (json_int_t)s.connected_unix_ms, "answered_unix_ms", (json_int_t)s.answered_unix_ms, "error_unix_ms",
			 (json_int_t)s.error_unix_ms, "last_error", s.last_error);
}

static json_t *describe(struct worker *worker, const struct serving *serving)
{
	const struct transport *transport = serving->transport;
	struct xds_identity_stats identity;
	json_t *out = describe_stream(transport ? transport->stream : NULL);

	json_object_set_new(out, "address", json_string(worker->config->options->xds));
	if (transport && transport->identity) {
		xds_identity_get_stats(transport->identity, &identity);
		json_object_set_new(out, "certificate", json_pack("{s:I, s:I, s:I, s:s}", "issued", (json_int_t)identity.issued, "failures",
								  (json_int_t)identity.failures, "until_unix_s", (json_int_t)identity.until_s,
								  "last_error", identity.last_error));
		/* Without one there is no stream that could say what is wrong. */
		if (identity.last_error[0] && !transport->stream)
			json_object_set_new(out, "last_error", json_string(identity.last_error));
	}
	return out;
}

/* istiod's secure port takes the namespace of a stream from who asks. A gateway that translates gRPC-Web is somebody else's: it is given what the
 * options say and no more. */
static void choose(const struct options *options, const struct xds_address *address, struct xds_settings *settings)
{
	bool is_istiod = address->is_tls && !address->is_web;

	settings->root_cert_file = options->xds_root_cert || !is_istiod ? options->xds_root_cert : ROOT_CERT;
	settings->token_file = options->xds_token || !is_istiod ? options->xds_token : TOKEN;
	settings->server_name = options->xds_server_name || !is_istiod ? options->xds_server_name : SERVER_NAME;
	settings->asks_for_identities = is_istiod && !options->xds_cert;
	settings->events = (struct scope_events){
		.cluster_id = options->xds_cluster_id,
		.node_name = options->node_name,
		.cache = options->xds_cache,
		.begin = begin,
		.end = end,
		.send = on_send,
		.describe = describe,
	};
}

int xds_start(struct worker *worker)
{
	const struct options *options = worker->config->options;
	struct xds_address address;
	char problem[256];
	int r;

	if (!options->xds)
		return 0;
	r = xds_address_parse(options->xds, &address, problem, sizeof(problem));
	if (r) {
		log_error("--xds %s: %s", options->xds, problem);
		return r;
	}
	if (curl_global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK)
		return log_err(-EIO, "starting libcurl");
	choose(options, &address, &worker->xds);
	worker->scopes.events = &worker->xds.events;
	return 0;
}
