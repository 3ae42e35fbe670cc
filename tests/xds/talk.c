/* SPDX-License-Identifier: Apache-2.0 */
/* A stream for a test to talk to: events as JSON, one a line, on standard output; commands, one a line, on standard input:
 *   send HEX | restart | stats | certificate CHAIN-FILE KEY-FILE | quit
 * With identity=SPIFFE the stream begins when a certificate for that name was signed.
 * usage: talk ADDRESS [OPTION=VALUE...], options as in struct xds_stream_options */
#include <errno.h>
#include <event2/event.h>
#include <inttypes.h>
#include <jansson.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/fd.h"
#include "base/log.h"
#include "xds/identity.h"
#include "xds/stream.h"

struct talk {
	struct event_base *base;
	struct xds_stream *stream;
	struct xds_stream_options options;
	const char *spiffe, *identity_address;
	uint32_t validity_s;
	struct strbuf input;
	bool frees_in_callback;
};

static void print(json_t *line)
{
	json_dumpf(line, stdout, JSON_COMPACT | JSON_ENSURE_ASCII);
	putchar('\n');
	fflush(stdout);
	json_decref(line);
}

static void on_opened(struct xds_stream *stream, void *context)
{
	(void)stream;
	(void)context;
	print(json_pack("{s:s}", "event", "opened"));
}

static void on_message(struct xds_stream *stream, const void *bytes, size_t size, void *context)
{
	struct talk *talk = context;
	unsigned char digest[EVP_MAX_MD_SIZE];
	char text[2 * EVP_MAX_MD_SIZE + 1];
	unsigned int length;

	(void)stream;
	EVP_Digest(bytes, size, digest, &length, EVP_sha256(), NULL);
	for (unsigned int i = 0; i < length; i++)
		sprintf(text + (size_t)2 * i, "%02x", digest[i]);
	print(json_pack("{s:s, s:I, s:s}", "event", "message", "size", (json_int_t)size, "sha256", text));
	if (talk->frees_in_callback) {
		xds_stream_free(&talk->stream);
		print(json_pack("{s:s}", "event", "freed"));
	}
}

static void on_closed(struct xds_stream *stream, const struct xds_close *why, void *context)
{
	static const char *const kinds[] = { "ended", "status", "http", "connect", "broken", "malformed", "restarted" };

	(void)stream;
	(void)context;
	print(json_pack("{s:s, s:s, s:b, s:i, s:s, s:i, s:s, s:I, s:i}", "event", "closed", "kind", kinds[why->kind], "was_opened", why->was_opened,
			"grpc_status", why->grpc_status, "grpc_message", why->grpc_message, "http_status", (int)why->http_status, "reason",
			why->reason, "lived_ms", (json_int_t)why->lived_ms, "retry_ms", (int)why->retry_ms));
}

static void stats(struct talk *talk)
{
	struct xds_stream_stats s;

	xds_stream_get_stats(talk->stream, &s);
	print(json_pack("{s:s, s:b, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:s}", "event", "stats", "is_open", s.is_open, "connects", (json_int_t)s.connects,
			"failures", (json_int_t)s.failures, "messages_received", (json_int_t)s.messages_received, "bytes_received",
			(json_int_t)s.bytes_received, "messages_sent", (json_int_t)s.messages_sent, "bytes_sent", (json_int_t)s.bytes_sent,
			"queued_bytes", (json_int_t)s.queued_bytes, "last_error", s.last_error));
}

static void send_hex(struct talk *talk, const char *text)
{
	_cleanup_(strbuf_release) struct strbuf bytes = STRBUF_INIT;
	unsigned int byte;

	for (; sscanf(text, "%2x", &byte) == 1; text += 2)
		strbuf_append_byte(&bytes, (char)byte);
	print(json_pack("{s:s, s:i}", "event", "sent", "result", xds_stream_send(talk->stream, strbuf_text(&bytes), bytes.size)));
}

static void set_certificate(struct talk *talk, char *names)
{
	_cleanup_(strbuf_release) struct strbuf chain = STRBUF_INIT, key = STRBUF_INIT;
	char *blank = strchr(names, ' ');

	if (!blank)
		return;
	*blank = '\0';
	if (file_read(names, 1 << 20, &chain) == 0 && file_read(blank + 1, 1 << 20, &key) == 0)
		xds_stream_set_certificate(talk->stream, strbuf_text(&chain), strbuf_text(&key));
}

static void obey(struct talk *talk, char *line)
{
	if (strncmp(line, "send ", 5) == 0)
		send_hex(talk, line + 5);
	else if (strcmp(line, "restart") == 0)
		xds_stream_restart(talk->stream);
	else if (strcmp(line, "stats") == 0)
		stats(talk);
	else if (strcmp(line, "free in callback") == 0)
		talk->frees_in_callback = true;
	else if (strncmp(line, "certificate ", 12) == 0)
		set_certificate(talk, line + 12);
	else
		event_base_loopbreak(talk->base);
}

static void on_input(evutil_socket_t fd, short what, void *arg)
{
	struct talk *talk = arg;
	char bytes[4096], *end;
	ssize_t size = read(fd, bytes, sizeof(bytes));

	(void)what;
	if (size <= 0) {
		event_base_loopbreak(talk->base);
		return;
	}
	strbuf_append(&talk->input, bytes, (size_t)size);
	while (talk->input.size && (end = memchr(talk->input.data, '\n', talk->input.size))) {
		*end = '\0';
		obey(talk, talk->input.data);
		strbuf_consume(&talk->input, (size_t)(end - talk->input.data) + 1);
	}
}

static int begin(struct talk *talk)
{
	static const struct xds_stream_events events = { on_opened, on_message, on_closed };

	return xds_stream_new(&talk->stream, talk->base, &talk->options, &events, talk);
}

static void on_certificate(void *context, const char *chain_pem, const char *key_pem)
{
	struct talk *talk = context;

	print(json_pack("{s:s, s:s}", "event", "certificate", "chain", chain_pem));
	if (talk->stream || begin(talk) == 0)
		xds_stream_set_certificate(talk->stream, chain_pem, key_pem);
}

static int begin_identity(struct talk *talk, struct xds_identity **out)
{
	static const struct xds_identity_events events = { on_certificate };
	const struct xds_stream_options *from = &talk->options;
	const struct xds_identity_options options = {
		.address = talk->identity_address ? talk->identity_address : from->address, .spiffe = talk->spiffe, .root_cert_file = from->root_cert_file, .server_name = from->server_name,
		.token_file = from->token_file, .cluster_id = from->cluster_id, .validity_s = talk->validity_s,
		.retry_min_ms = from->retry_min_ms, .retry_max_ms = from->retry_max_ms,
	};

	return xds_identity_new(out, talk->base, &options, &events, talk);
}

static void set(struct talk *talk, char *word)
{
	struct xds_stream_options *options = &talk->options;
	char *value = strchr(word, '=');
	struct {
		const char *name;
		const char **text;
		uint32_t *number;
	} known[] = {
		{ "path", &options->path, NULL },
		{ "root", &options->root_cert_file, NULL },
		{ "server-name", &options->server_name, NULL },
		{ "token", &options->token_file, NULL },
		{ "cluster-id", &options->cluster_id, NULL },
		{ "cert", &options->cert_file, NULL },
		{ "key", &options->key_file, NULL },
		{ "identity", &talk->spiffe, NULL },
		{ "identity-address", &talk->identity_address, NULL },
		{ "validity", NULL, &talk->validity_s },
		{ "message-max", NULL, &options->message_max_bytes },
		{ "retry-min", NULL, &options->retry_min_ms },
		{ "retry-max", NULL, &options->retry_max_ms },
		{ "keepalive", NULL, &options->keepalive_s },
	};

	for (size_t i = 0; value && i < ARRAY_SIZE(known); i++) {
		if (strncmp(known[i].name, word, (size_t)(value - word)) != 0 || known[i].name[value - word])
			continue;
		if (known[i].text)
			*known[i].text = value + 1;
		else
			*known[i].number = (uint32_t)strtoul(value + 1, NULL, 10);
		return;
	}
	fprintf(stderr, "talk: what is %s?\n", word);
	exit(2);
}

int main(int argc, char **argv)
{
	struct talk talk = { .input = STRBUF_INIT, .options = { .name = "test" } };
	struct xds_identity *identity = NULL;
	struct event *input;

	if (argc < 2)
		return 2;
	log_set_level(LOG_LEVEL_DEBUG);
	talk.options.address = argv[1];
	for (int i = 2; i < argc; i++)
		set(&talk, argv[i]);
	talk.base = event_base_new();
	input = event_new(talk.base, 0, EV_READ | EV_PERSIST, on_input, &talk);
	event_add(input, NULL);
	if ((talk.spiffe ? begin_identity(&talk, &identity) : begin(&talk)) == 0)
		event_base_dispatch(talk.base);
	xds_stream_free(&talk.stream);
	xds_identity_free(&identity);
	event_free(input);
	event_base_free(talk.base);
	strbuf_release(&talk.input);
	return 0;
}
