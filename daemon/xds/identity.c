/* SPDX-License-Identifier: Apache-2.0 */
#include "xds/identity.h"

#include <errno.h>
#include <event2/event.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>

#include "base/cleanup.h"
#include "base/log.h"
#include "xds/backoff.h"
#include "xds/call.h"
#include "xds/csr.h"
#include "xds/grpc.h"

#define VALIDITY_S 86400
#define ANSWER_MS 20000
#define RESPONSE_MAX (1u << 20)
#define RETRY_MIN_MS 1000
#define RETRY_MAX_MS 60000
#define RENEW_MIN_S 1

struct xds_identity {
	struct event_base *base;
	struct xds_identity_events events;
	void *context;
	struct xds_address address;
	struct xds_credentials credentials;
	struct xds_call_options call_options;
	char *spiffe;
	uint32_t validity_s;
	struct xds_backoff backoff;
	struct event *timer;        /* asks */
	struct xds_call *call;
	bool is_call_over;
	EVP_PKEY *key;              /* that a certificate is asked for */
	struct strbuf request;
	struct xds_identity_stats stats;
	char last_error[1024], said[1024];
};

static void ask_later(struct xds_identity *identity, uint64_t after_ms)
{
	const struct timeval after = { .tv_sec = (time_t)(after_ms / 1000), .tv_usec = (suseconds_t)(after_ms % 1000 * 1000) };

	evtimer_add(identity->timer, &after);
}

static void fail(struct xds_identity *identity, const char *reason)
{
	uint32_t pause_ms = xds_backoff_next(&identity->backoff);

	identity->stats.failures++;
	snprintf(identity->last_error, sizeof(identity->last_error), "%s", reason);
	if (strcmp(identity->said, identity->last_error) != 0)
		log_warning("certificate of %s: %s; asks again, with pauses of up to %u s", identity->spiffe, reason, identity->backoff.max_ms / 1000);
	memcpy(identity->said, identity->last_error, sizeof(identity->said));
	ask_later(identity, pause_ms);
}

/* At half its life, and never all together. */
static void renew_later(struct xds_identity *identity)
{
	int64_t left_s = identity->stats.until_s - (int64_t)time(NULL), half_ms = left_s * 500, jitter_ms = 0;

	if (getrandom(&jitter_ms, 4, GRND_NONBLOCK) == 4 && half_ms > 0)
		jitter_ms = (jitter_ms & 0x7fffffff) % (half_ms / 10 + 1);
	half_ms -= jitter_ms;
	ask_later(identity, half_ms < RENEW_MIN_S * 1000 ? RENEW_MIN_S * 1000 : (uint64_t)half_ms);
}

static void on_opened(void *context)
{
	struct xds_identity *identity = context;

	xds_call_send(identity->call, identity->request.data, identity->request.size);
	xds_call_finish(identity->call);
}

static void on_message(void *context, const void *bytes, size_t size)
{
	_cleanup_(strbuf_release) struct strbuf chain = STRBUF_INIT, key = STRBUF_INIT;
	struct xds_identity *identity = context;
	char problem[256], reason[XDS_HOST_MAX + 300], when[32];
	int64_t until_s;

	xds_call_silence(identity->call); /* what follows a certificate doesn't matter */
	identity->is_call_over = true;
	if (xds_csr_read(bytes, size, identity->key, identity->spiffe, &chain, &key, &until_s, problem, sizeof(problem))) {
		snprintf(reason, sizeof(reason), "%s answered, but %s", identity->address.host, problem);
		fail(identity, reason);
		return;
	}
	xds_time_text(until_s, when);
	log_info("certificate of %s: %s until %s", identity->spiffe, identity->stats.issued ? "renewed," : "signed,", when);
	identity->stats.issued++;
	identity->stats.until_s = until_s;
	identity->last_error[0] = identity->said[0] = '\0';
	xds_backoff_reset(&identity->backoff);
	renew_later(identity);
	identity->events.ready(identity->context, strbuf_text(&chain), strbuf_text(&key));
	OPENSSL_cleanse(key.data, key.capacity);
}

static void on_ended(void *context, const struct xds_close *why)
{
	struct xds_identity *identity = context;
	char reason[1024];

	identity->is_call_over = true;
	if (why->grpc_status == XDS_GRPC_UNAUTHENTICATED || why->grpc_status == XDS_GRPC_PERMISSION_DENIED)
		snprintf(reason, sizeof(reason),
			 "%s; istiod signs for other accounts only on the word of those that its CA_TRUSTED_NODE_ACCOUNTS names, for pods of this node, and "
			 "takes only tokens for the audience istio-ca: see docs/install.md",
			 why->reason);
	else
		snprintf(reason, sizeof(reason), "%s", why->kind == XDS_CLOSE_ENDED ? "the answer was empty" : why->reason);
	fail(identity, reason);
}

static void on_settled(void *context)
{
	struct xds_identity *identity = context;

	if (identity->is_call_over)
		xds_call_free(&identity->call);
}

static void on_timer(evutil_socket_t fd, short what, void *arg)
{
	static const struct xds_call_events events = { on_opened, on_message, on_ended, on_settled };
	struct xds_identity *identity = arg;
	char problem[XDS_PROBLEM_MAX];
	int r;

	(void)fd;
	(void)what;
	EVP_PKEY_free(identity->key);
	identity->key = NULL;
	strbuf_release(&identity->request);
	identity->is_call_over = false;
	r = xds_csr_make(identity->spiffe, identity->validity_s, &identity->key, &identity->request);
	if (r) {
		fail(identity, r == -EINVAL ? "OpenSSL does not take this name" : "no memory for a key");
		return;
	}
	r = xds_call_new(&identity->call, identity->base, &identity->call_options, &events, identity, problem, sizeof(problem));
	if (r)
		fail(identity, problem);
}

static int copy(const char *text, char **out)
{
	if (!text)
		return 0;
	*out = strdup(text);
	return *out ? 0 : -ENOMEM;
}

static int set_up(struct xds_identity *identity, const struct xds_identity_options *options)
{
	struct xds_credentials *to = &identity->credentials;
	char problem[XDS_PROBLEM_MAX];
	int r;

	r = xds_address_parse(options->address, &identity->address, problem, sizeof(problem));
	if (r == 0)
		r = xds_call_check(&identity->address, problem, sizeof(problem));
	if (r) {
		log_error("%s: %s", options->address, problem);
		return r;
	}
	r = copy(options->spiffe, &identity->spiffe);
	r = r ? r : copy(options->root_cert_file, &to->root_cert_file);
	r = r ? r : copy(options->server_name, &to->server_name);
	r = r ? r : copy(options->token_file, &to->token_file);
	r = r ? r : copy(options->cluster_id, &to->cluster_id);
	r = r ? r : copy(options->cert_file, &to->cert_file);
	r = r ? r : copy(options->key_file, &to->key_file);
	identity->validity_s = options->validity_s ? options->validity_s : VALIDITY_S;
	identity->backoff.min_ms = options->retry_min_ms ? options->retry_min_ms : RETRY_MIN_MS;
	identity->backoff.max_ms = options->retry_max_ms ? options->retry_max_ms : RETRY_MAX_MS;
	if (getrandom(&identity->backoff.random, sizeof(identity->backoff.random), GRND_NONBLOCK) < 0)
		identity->backoff.random = (uint64_t)time(NULL);
	identity->call_options = (struct xds_call_options){ .address = &identity->address, .credentials = to, .path = XDS_CSR_PATH,
							    .message_max_bytes = RESPONSE_MAX, .answer_ms = ANSWER_MS };
	return r;
}

int xds_identity_new(struct xds_identity **out, struct event_base *base, const struct xds_identity_options *options,
		     const struct xds_identity_events *events, void *context)
{
	_cleanup_(xds_identity_free) struct xds_identity *identity = calloc(1, sizeof(*identity));
	int r;

	if (!identity)
		return -ENOMEM;
	identity->base = base;
	identity->events = *events;
	identity->context = context;
	r = set_up(identity, options);
	if (r)
		return r;
	identity->timer = evtimer_new(base, on_timer, identity);
	if (!identity->timer)
		return -ENOMEM;
	ask_later(identity, 0);
	*out = TAKE_PTR(identity);
	return 0;
}

void xds_identity_get_stats(const struct xds_identity *identity, struct xds_identity_stats *out)
{
	*out = identity->stats;
	out->last_error = identity->last_error;
}

void xds_identity_free(struct xds_identity **pointer)
{
	struct xds_identity *identity = TAKE_PTR(*pointer);

	if (!identity)
		return;
	xds_call_free(&identity->call);
	if (identity->timer)
		event_free(identity->timer);
	xds_credentials_release(&identity->credentials);
	strbuf_release(&identity->request);
	EVP_PKEY_free(identity->key);
	free(identity->spiffe);
	free(identity);
}
