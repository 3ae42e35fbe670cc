/* SPDX-License-Identifier: Apache-2.0 */
#include "kube/http.h"

#include <curl/curl.h>
#include <errno.h>
#include <event2/event.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/cleanup.h"
#include "base/curl.h"
#include "kube/access.h"
#include "kube/wire.h"

#define BUFFER_BYTES (64L << 10)
#define DELIVERIES_MAX 1000 /* then others have their turn */

/* A multi handle has the connections. A fresh one begins when they can't be trusted; the old one goes with its last call. */
struct carrier {
	struct kube_http *http;
	CURLM *multi;
	struct event *timer;
	unsigned int users;
};

struct kube_http {
	struct event_base *base;
	const struct kube_access *access;
	struct carrier *carrier;
	struct kube_call *calls;
	struct event *later;
};

struct kube_call {
	struct kube_http *http;
	struct kube_call *next;
	struct carrier *carrier;
	CURL *easy;
	struct curl_slist *headers, *connect_to;
	const struct kube_call_events *events;
	void *arg;
	char *post;

	/* noted, to be told */
	struct kube_answer_head head;
	bool has_head, is_head_told;
	struct strbuf body;
	bool is_over;
	CURLcode result;
	char text[CURL_ERROR_SIZE];
};

/* ---- telling ------------------------------------------------------------------------------------------------------------------------- */

static void finish(struct kube_call *call)
{
	char problem[CURL_ERROR_SIZE];

	/* the call may be gone before its owner has read it */
	snprintf(problem, sizeof(problem), "%s", call->text[0] ? call->text : curl_easy_strerror(call->result));
	call->is_over = call->has_head = false;
	call->events->end(call->arg, call->result == CURLE_OK ? NULL : problem);
}

/* The next thing that a call has to tell. The call, and any other, may be gone afterwards. */
static bool tell_one(struct kube_call *call)
{
	struct strbuf body;

	if (call->has_head && !call->is_head_told) {
		call->is_head_told = true;
		call->events->head(call->arg, &call->head);
		return true;
	}
	if (call->body.size) {
		body = call->body;
		call->body = (struct strbuf)STRBUF_INIT;
		call->events->body(call->arg, body.data, body.size);
		strbuf_release(&body);
		return true;
	}
	if (call->is_over) {
		finish(call);
		return true;
	}
	return false;
}

static void tell(struct kube_http *http)
{
	bool has_told = true;

	for (unsigned int i = 0; i < DELIVERIES_MAX && has_told; i++) {
		has_told = false;
		for (struct kube_call *call = http->calls; call && !has_told; call = call->next)
			has_told = tell_one(call);
	}
	if (has_told)
		event_active(http->later, EV_TIMEOUT, 0);
}

static void on_later(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	tell(arg);
}

/* ---- libcurl in the loop -------------------------------------------------------------------------------------------------------------- */

static void act(struct carrier *carrier, curl_socket_t fd, int what)
{
	struct kube_http *http = carrier->http;
	CURLMsg *message;
	int running, left;

	curl_multi_socket_action(carrier->multi, fd, what, &running);
	while ((message = curl_multi_info_read(carrier->multi, &left))) {
		struct kube_call *call = NULL;

		if (message->msg != CURLMSG_DONE)
			continue;
		curl_easy_getinfo(message->easy_handle, CURLINFO_PRIVATE, &call);
		call->is_over = true;
		call->result = message->data.result;
	}
	tell(http);
}

static void on_socket_event(evutil_socket_t fd, short what, void *arg)
{
	act(arg, fd, (what & EV_READ ? CURL_CSELECT_IN : 0) | (what & EV_WRITE ? CURL_CSELECT_OUT : 0));
}

static void on_timer(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	act(arg, CURL_SOCKET_TIMEOUT, 0);
}

/* What libcurl wants to know of a socket; `socket_arg` is that socket's event. */
static int on_socket(CURL *easy, curl_socket_t fd, int what, void *arg, void *socket_arg)
{
	struct carrier *carrier = arg;
	struct event *event = socket_arg;
	short wanted = (short)(EV_PERSIST | (what & CURL_POLL_IN ? EV_READ : 0) | (what & CURL_POLL_OUT ? EV_WRITE : 0));

	(void)easy;
	if (event)
		event_free(event);
	event = NULL;
	if (what != CURL_POLL_REMOVE) {
		event = event_new(carrier->http->base, fd, wanted, on_socket_event, carrier);
		if (!event || event_add(event, NULL) < 0) {
			if (event)
				event_free(event);
			curl_multi_assign(carrier->multi, fd, NULL);
			return -1;
		}
	}
	curl_multi_assign(carrier->multi, fd, event);
	return 0;
}

static int on_timeout(CURLM *multi, long timeout_ms, void *arg)
{
	const struct timeval after = { .tv_sec = timeout_ms / 1000, .tv_usec = timeout_ms % 1000 * 1000 };
	struct carrier *carrier = arg;

	(void)multi;
	return timeout_ms < 0 ? evtimer_del(carrier->timer) : evtimer_add(carrier->timer, &after);
}

static void carrier_release(struct carrier **pointer)
{
	struct carrier *carrier = TAKE_PTR(*pointer);

	if (!carrier || --carrier->users)
		return;
	/* The connections go with the handle, and with them the events of their sockets. */
	if (carrier->multi)
		curl_multi_cleanup(carrier->multi);
	if (carrier->timer)
		event_free(carrier->timer);
	free(carrier);
}

static int carrier_new(struct kube_http *http, struct carrier **out)
{
	_cleanup_(carrier_release) struct carrier *carrier = calloc(1, sizeof(*carrier));

	if (!carrier)
		return -ENOMEM;
	carrier->users = 1;
	carrier->http = http;
	carrier->multi = curl_multi_init();
	carrier->timer = evtimer_new(http->base, on_timer, carrier);
	if (!carrier->multi || !carrier->timer)
		return -ENOMEM;
	curl_multi_setopt(carrier->multi, CURLMOPT_SOCKETFUNCTION, on_socket);
	curl_multi_setopt(carrier->multi, CURLMOPT_SOCKETDATA, carrier);
	curl_multi_setopt(carrier->multi, CURLMOPT_TIMERFUNCTION, on_timeout);
	curl_multi_setopt(carrier->multi, CURLMOPT_TIMERDATA, carrier);
	*out = TAKE_PTR(carrier);
	return 0;
}

int kube_http_new(struct kube_http **out, struct event_base *base, const struct kube_access *access)
{
	_cleanup_(kube_http_free) struct kube_http *http = calloc(1, sizeof(*http));
	int r;

	if (!http)
		return -ENOMEM;
	http->base = base;
	http->access = access;
	http->later = event_new(base, -1, 0, on_later, http);
	r = http->later ? carrier_new(http, &http->carrier) : -ENOMEM;
	if (r)
		return r;
	*out = TAKE_PTR(http);
	return 0;
}

void kube_http_free(struct kube_http **pointer)
{
	struct kube_http *http = TAKE_PTR(*pointer);

	if (!http)
		return;
	carrier_release(&http->carrier);
	if (http->later)
		event_free(http->later);
	free(http);
}

/* ---- what comes ------------------------------------------------------------------------------------------------------------------------ */

static const char *value_of(const char *line, const char *name)
{
	size_t size = strlen(name);

	if (strncasecmp(line, name, size) != 0 || line[size] != ':')
		return NULL;
	line += size + 1;
	return line + strspn(line, " \t");
}

/* A line with its line break, the empty one that ends a head included. */
static size_t on_header(char *bytes, size_t unit, size_t count, void *arg)
{
	struct kube_call *call = arg;
	size_t size = unit * count;
	char line[256];
	const char *value;
	int code;

	snprintf(line, sizeof(line), "%.*s", (int)strcspn(bytes, "\r\n"), bytes);
	if (sscanf(line, "HTTP/%*s %d", &code) == 1)
		call->head = (struct kube_answer_head){ .code = code };
	else if ((value = value_of(line, "content-type")))
		snprintf(call->head.content_type, sizeof(call->head.content_type), "%.*s", (int)strcspn(value, "; \t"), value);
	else if ((value = value_of(line, "retry-after")))
		call->head.retry_after_s = (uint32_t)strtoul(value, NULL, 10);
	else if (!line[0] && call->head.code >= 200)
		call->has_head = true;
	return size;
}

static size_t on_write(char *bytes, size_t unit, size_t count, void *arg)
{
	struct kube_call *call = arg;

	return strbuf_append(&call->body, bytes, unit * count) ? 0 : unit * count;
}

/* ---- a call ---------------------------------------------------------------------------------------------------------------------------- */

static int add_header(struct kube_call *call, const char *name, const char *value)
{
	_cleanup_(kube_secret_wipe) struct strbuf line = STRBUF_INIT;
	struct curl_slist *list;

	strbuf_printf(&line, "%s: %s", name, value);
	list = strbuf_status(&line) ? NULL : curl_slist_append(call->headers, strbuf_text(&line));
	if (!list)
		return -ENOMEM;
	call->headers = list;
	return 0;
}

static int read_secret(struct kube_call *call, const struct kube_secret *secret, struct strbuf *out)
{
	int r = kube_secret_read(secret, out);

	if (r && secret->file)
		snprintf(call->text, sizeof(call->text), "%s: %s", secret->file, strerror(-r));
	return r;
}

static int set_headers(struct kube_call *call)
{
	_cleanup_(kube_secret_wipe) struct strbuf token = STRBUF_INIT, bearer = STRBUF_INIT;
	int r = add_header(call, "Accept", call->post ? "application/json" : KUBE_CONTENT_TYPE);

	if (!r)
		r = add_header(call, "User-Agent", "weft/" WEFT_VERSION);
	if (!r && call->post)
		r = add_header(call, "Content-Type", "application/json");
	/* Read anew: the kubelet renews it. */
	if (!r)
		r = read_secret(call, &call->http->access->token, &token);
	if (!r && token.size)
		r = strbuf_printf(&bearer, "Bearer %s", strbuf_text(&token));
	if (!r && bearer.size)
		r = add_header(call, "Authorization", strbuf_text(&bearer));
	return r;
}

static int set_blob(struct kube_call *call, CURLoption option, const struct kube_secret *secret)
{
	_cleanup_(kube_secret_wipe) struct strbuf pem = STRBUF_INIT;
	struct curl_blob blob = { .flags = CURL_BLOB_COPY };
	int r = read_secret(call, secret, &pem);

	if (r || !pem.size)
		return r;
	blob.data = pem.data;
	blob.len = pem.size;
	return curl_easy_setopt(call->easy, option, &blob) == CURLE_OK ? 0 : -ENOMEM;
}

static int set_tls(struct kube_call *call)
{
	const struct kube_access *access = call->http->access;
	CURL *easy = call->easy;
	int r;

	curl_easy_setopt(easy, CURLOPT_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_2);
	curl_easy_setopt(easy, CURLOPT_SSL_VERIFYPEER, access->is_insecure ? 0L : 1L);
	curl_easy_setopt(easy, CURLOPT_SSL_VERIFYHOST, access->is_insecure ? 0L : 2L);
	r = set_blob(call, CURLOPT_CAINFO_BLOB, &access->ca);
	if (!r)
		r = set_blob(call, CURLOPT_SSLCERT_BLOB, &access->cert);
	if (!r)
		r = set_blob(call, CURLOPT_SSLKEY_BLOB, &access->key);
	if (access->ca.file || access->ca.text.size)
		curl_easy_setopt(easy, CURLOPT_CAPATH, NULL);
	return r;
}

/* Where the server's authority ends: "https://HOST[:PORT]/...", HOST perhaps in brackets. */
static const char *port_of(const char *authority, size_t size)
{
	const char *at = memchr(authority, ']', size);

	at = at ? at : authority;
	at = memchr(at, ':', size - (size_t)(at - authority));
	return at ? at + 1 : NULL;
}

/* With a name for the certificate, the URL has that name, and the connection goes where the address says. */
static int set_url(struct kube_call *call, const char *target)
{
	const struct kube_access *access = call->http->access;
	_cleanup_(strbuf_release) struct strbuf url = STRBUF_INIT, to = STRBUF_INIT;
	const char *authority = strstr(access->server, "://") + 3, *path = authority + strcspn(authority, "/");
	const char *port = port_of(authority, (size_t)(path - authority));
	bool is_tls = access->server[4] == 's';

	if (!access->server_name) {
		strbuf_printf(&url, "%s%s", access->server, target);
	} else {
		strbuf_printf(&url, "http%s://%s:%.*s%s%s", is_tls ? "s" : "", access->server_name, port ? (int)(path - port) : 3,
			      port ? port : (is_tls ? "443" : "80"), path, target);
		strbuf_printf(&to, "::%.*s", (int)(path - authority), authority);
		call->connect_to = strbuf_status(&to) ? NULL : curl_slist_append(NULL, strbuf_text(&to));
		if (!call->connect_to)
			return -ENOMEM;
		curl_easy_setopt(call->easy, CURLOPT_CONNECT_TO, call->connect_to);
	}
	if (strbuf_status(&url) || curl_easy_setopt(call->easy, CURLOPT_URL, strbuf_text(&url)) != CURLE_OK)
		return -ENOMEM;
	return 0;
}

static int set_up(struct kube_call *call, const char *target)
{
	static const struct curl_keepalive keepalive = { .idle_s = 15, .between_s = 5, .probes = 3 };
	CURL *easy = call->easy;
	int r;

	r = set_url(call, target);
	if (!r)
		r = set_headers(call);
	if (!r)
		r = set_tls(call);
	if (r)
		return r;
	curl_easy_setopt(easy, CURLOPT_PRIVATE, call);
	curl_easy_setopt(easy, CURLOPT_HTTPHEADER, call->headers);
	curl_easy_setopt(easy, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_2TLS);
	/* Not in plaintext: there HTTP/2 is not spoken, and libcurl forgets (7.88) a call that waits to see whether it is, until another one ends. */
	curl_easy_setopt(easy, CURLOPT_PIPEWAIT, call->http->access->server[4] == 's' ? 1L : 0L);
	curl_set_common(easy, call->text, &keepalive); /* the token is for this server alone */
	curl_easy_setopt(easy, CURLOPT_BUFFERSIZE, BUFFER_BYTES);
	curl_easy_setopt(easy, CURLOPT_HEADERFUNCTION, on_header);
	curl_easy_setopt(easy, CURLOPT_HEADERDATA, call);
	curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, on_write);
	curl_easy_setopt(easy, CURLOPT_WRITEDATA, call);
	if (call->post)
		curl_easy_setopt(easy, CURLOPT_POSTFIELDS, call->post);
	return 0;
}

static int renew_carrier(struct kube_http *http)
{
	struct carrier *fresh;
	int r = carrier_new(http, &fresh);

	if (r)
		return r;
	carrier_release(&http->carrier);
	http->carrier = fresh;
	return 0;
}

int kube_call_new(struct kube_call **out, struct kube_http *http, const struct kube_request *request, const struct kube_call_events *events, void *arg)
{
	_cleanup_(kube_call_free) struct kube_call *call = NULL;
	int r = request->is_fresh ? renew_carrier(http) : 0;

	if (r)
		return r;
	call = calloc(1, sizeof(*call));
	if (!call)
		return -ENOMEM;
	call->http = http;
	call->events = events;
	call->arg = arg;
	call->easy = curl_easy_init();
	call->post = request->post_json ? strdup(request->post_json) : NULL;
	if (!call->easy || (request->post_json && !call->post))
		return -ENOMEM;
	r = set_up(call, request->target);
	if (r && call->text[0]) { /* a file can't be read: a call that ends with that */
		call->is_over = true;
		call->result = CURLE_READ_ERROR;
		event_active(http->later, EV_TIMEOUT, 0);
	} else if (r) {
		return r;
	} else if (curl_multi_add_handle(http->carrier->multi, call->easy) != CURLM_OK) {
		return -EIO;
	} else {
		call->carrier = http->carrier;
		call->carrier->users++;
	}
	call->next = http->calls;
	http->calls = call;
	*out = TAKE_PTR(call);
	return 0;
}

void kube_call_free(struct kube_call **pointer)
{
	struct kube_call *call = TAKE_PTR(*pointer);

	if (!call)
		return;
	for (struct kube_call **at = &call->http->calls; *at; at = &(*at)->next) {
		if (*at == call) {
			*at = call->next;
			break;
		}
	}
	if (call->carrier)
		curl_multi_remove_handle(call->carrier->multi, call->easy);
	if (call->easy)
		curl_easy_cleanup(call->easy);
	carrier_release(&call->carrier);
	curl_slist_free_all(call->headers);
	curl_slist_free_all(call->connect_to);
	strbuf_release(&call->body);
	free(call->post);
	free(call);
}
