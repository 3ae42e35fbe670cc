/* SPDX-License-Identifier: Apache-2.0 */
#include "admin/http.h"

#include <errno.h>
#include <event2/buffer.h>
#include <event2/event.h>
#include <event2/http.h>
#include <event2/keyvalq_struct.h>
#include <event2/listener.h>
#include <event2/util.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>

#include "admin/http_clients.h"
#include "base/cleanup.h"

#define BACKLOG 64
#define HEADERS_BYTES_MAX 8192
#define BODY_BYTES_MAX 4096
#define PLAIN_TEXT "text/plain; charset=utf-8"

struct http {
	struct evhttp *server;
	struct http_clients *clients;
	http_answer_fn answer;
	void *arg;
};

struct address {
	struct sockaddr_storage place;
	int size;
	bool is_loopback;
};

static int address_parse(const char *text, struct address *out)
{
	const struct sockaddr_in6 *six = (const void *)&out->place;
	const struct sockaddr_in *four = (const void *)&out->place;
	bool is_six;

	out->size = sizeof(out->place);
	if (evutil_parse_sockaddr_port(text, (struct sockaddr *)&out->place, &out->size) < 0)
		return -EINVAL;
	is_six = out->place.ss_family == AF_INET6;
	out->is_loopback = is_six ? IN6_IS_ADDR_LOOPBACK(&six->sin6_addr) : ntohl(four->sin_addr.s_addr) >> 24 == 127;
	return (is_six ? six->sin6_port : four->sin_port) ? 0 : -EINVAL;
}

bool http_address_is_good(const char *address, bool *is_loopback)
{
	struct address parsed;

	if (address_parse(address, &parsed))
		return false;
	if (is_loopback)
		*is_loopback = parsed.is_loopback;
	return true;
}

const char *http_parameter(const struct http_request *request, const char *name)
{
	return evhttp_find_header(request->query, name);
}

static void reply(struct evhttp_request *request, struct http_answer *answer)
{
	struct evbuffer *out = evhttp_request_get_output_buffer(request);
	struct evkeyvalq *headers = evhttp_request_get_output_headers(request);

	if (strbuf_status(&answer->body) || evbuffer_add(out, strbuf_text(&answer->body), answer->body.size) < 0) {
		evhttp_send_error(request, HTTP_INTERNAL, "out of memory");
		return;
	}
	evhttp_add_header(headers, "Content-Type", answer->content_type);
	evhttp_add_header(headers, "Cache-Control", "no-store");
	evhttp_send_reply(request, answer->status, NULL, NULL);
}

static void on_request(struct evhttp_request *request, void *arg)
{
	const struct evhttp_uri *uri = evhttp_request_get_evhttp_uri(request);
	const char *accept = evhttp_find_header(evhttp_request_get_input_headers(request), "Accept");
	_cleanup_free_ char *path = evhttp_uridecode(evhttp_uri_get_path(uri) ? evhttp_uri_get_path(uri) : "", 0, NULL);
	const char *query = evhttp_uri_get_query(uri);
	struct evkeyvalq parameters;
	struct http_answer answer = { .status = HTTP_NOTFOUND, .content_type = PLAIN_TEXT, .body = STRBUF_INIT };
	struct http *http = arg;
	const struct http_request asked = {
		.path = path,
		.is_post = evhttp_request_get_command(request) == EVHTTP_REQ_POST,
		.accept = accept ? accept : "",
		.query = &parameters,
	};

	http_clients_touch(http->clients, evhttp_connection_get_bufferevent(evhttp_request_get_connection(request)));
	if (evhttp_parse_query_str(query ? query : "", &parameters) < 0 || !path) {
		evhttp_send_error(request, HTTP_BADREQUEST, NULL);
	} else {
		http->answer(http->arg, &asked, &answer);
		if (answer.status == HTTP_NOTFOUND && !answer.body.size)
			strbuf_append_text(&answer.body, "nothing is served here\n");
		reply(request, &answer);
	}
	evhttp_clear_headers(&parameters);
	strbuf_release(&answer.body);
}

int http_new(struct http **out, struct event_base *base, const char *address, http_answer_fn answer, void *arg)
{
	_cleanup_(http_free) struct http *http = calloc(1, sizeof(*http));
	struct evconnlistener *listener;
	struct address parsed;
	int r;

	if (!http)
		return -ENOMEM;
	if (address_parse(address, &parsed))
		return -EINVAL;
	http->answer = answer;
	http->arg = arg;
	http->server = evhttp_new(base);
	if (!http->server)
		return -ENOMEM;
	evhttp_set_timeout(http->server, HTTP_IDLE_S);
	evhttp_set_max_headers_size(http->server, HEADERS_BYTES_MAX);
	evhttp_set_max_body_size(http->server, BODY_BYTES_MAX);
	evhttp_set_allowed_methods(http->server, EVHTTP_REQ_GET | EVHTTP_REQ_HEAD | EVHTTP_REQ_POST);
	evhttp_set_gencb(http->server, on_request, http);
	errno = 0;
	/* A weftd that takes over listens before the former has ended. */
	listener = evconnlistener_new_bind(base, NULL, NULL, LEV_OPT_REUSEABLE | LEV_OPT_REUSEABLE_PORT | LEV_OPT_CLOSE_ON_EXEC | LEV_OPT_CLOSE_ON_FREE,
					   BACKLOG, (struct sockaddr *)&parsed.place, parsed.size);
	if (!listener)
		return errno ? -errno : -EADDRNOTAVAIL;
	if (!evhttp_bind_listener(http->server, listener)) {
		evconnlistener_free(listener);
		return -ENOMEM;
	}
	r = http_clients_new(&http->clients, base, listener);
	if (r)
		return r;
	evhttp_set_bevcb(http->server, http_clients_accept, http->clients);
	*out = TAKE_PTR(http);
	return 0;
}

void http_free(struct http **http)
{
	if (*http)
		http_clients_free(&(*http)->clients);
	if (*http && (*http)->server)
		evhttp_free((*http)->server); /* with the listener */
	free(*http);
	*http = NULL;
}

void http_get_stats(struct http *http, struct http_stats *out)
{
	*out = (struct http_stats){ 0 };
	if (!http)
		return;
	out->connections = http_clients_count(http->clients);
	out->evicted = http_clients_evicted(http->clients);
}
