/* SPDX-License-Identifier: Apache-2.0 */
#include "admin/server.h"

#include <errno.h>
#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <event2/event.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/acceptor.h"
#include "base/cleanup.h"
#include "base/fd.h"
#include "base/log.h"
#include "base/strbuf.h"

#define CLIENTS_MAX 16u
#define REQUEST_BYTES_MAX 65536u
#define TIMEOUT_MS 10000u
#define BACKLOG 16

struct client {
	struct client *next;
	struct client **link;       /* what points at this one */
	struct admin *admin;
	struct bufferevent *stream;
	bool is_answered;
};

struct admin {
	struct admin_options options;
	struct acceptor *acceptor;
	struct client *clients;
	uint32_t client_count;
};

json_t *admin_error(const char *fmt, ...)
{
	char text[1024];
	va_list args;

	va_start(args, fmt);
	vsnprintf(text, sizeof(text), fmt, args);
	va_end(args);
	return json_pack("{s:s}", "error", text);
}

static void client_free(struct client *client)
{
	struct admin *admin = client->admin;

	*client->link = client->next;
	if (client->next)
		client->next->link = client->link;
	bufferevent_free(client->stream);
	free(client);
	/* There is room again for those in the queue. */
	if (admin->client_count-- == admin->options.clients_max)
		acceptor_resume(admin->acceptor);
}

static int add_bytes(const char *bytes, size_t size, void *arg)
{
	return evbuffer_add(arg, bytes, size);
}

static void send_answer(struct client *client, json_t *answer)
{
	struct evbuffer *out = bufferevent_get_output(client->stream);

	client->is_answered = true;
	if (!answer || json_dump_callback(answer, add_bytes, out, JSON_COMPACT) < 0) {
		static const char no_memory[] = "{\"error\":\"weftd is out of memory\"}";

		evbuffer_drain(out, evbuffer_get_length(out));
		evbuffer_add(out, no_memory, sizeof(no_memory) - 1);
	}
	json_decref(answer);
	evbuffer_add(out, "\n", 1);
	bufferevent_disable(client->stream, EV_READ);
	bufferevent_enable(client->stream, EV_WRITE);
}

static void on_readable(struct bufferevent *stream, void *arg)
{
	struct client *client = arg;
	struct evbuffer *in = bufferevent_get_input(stream);
	const struct admin_options *options = &client->admin->options;
	json_error_t error;
	json_t *request;
	size_t len;
	char *line;

	if (client->is_answered)
		return;
	line = evbuffer_readln(in, &len, EVBUFFER_EOL_LF);
	if (!line) {
		if (evbuffer_get_length(in) >= options->request_bytes_max)
			send_answer(client, admin_error("the request is longer than %u bytes", options->request_bytes_max));
		return;
	}
	request = json_loadb(line, len, JSON_REJECT_DUPLICATES, &error);
	free(line);
	if (json_is_object(request))
		send_answer(client, options->answer(options->arg, request));
	else
		send_answer(client, admin_error("a JSON object on one line is expected%s%s", request ? "" : ": ", request ? "" : error.text));
	json_decref(request);
}

/* Called when the output has gone as well. */
static void on_written(struct bufferevent *stream, void *arg)
{
	struct client *client = arg;

	if (client->is_answered && evbuffer_get_length(bufferevent_get_output(stream)) == 0)
		client_free(client);
}

static void on_event(struct bufferevent *stream, short what, void *arg)
{
	(void)stream;
	(void)what; /* closed, broken or too slow: all the same end */
	client_free(arg);
}

static bool is_root(int fd)
{
	struct ucred who;
	socklen_t size = sizeof(who);

	return getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &who, &size) == 0 && (who.uid == 0 || who.uid == geteuid());
}

static int client_new(struct admin *admin, int fd)
{
	const struct timeval timeout = {
		.tv_sec = admin->options.timeout_ms / 1000,
		.tv_usec = admin->options.timeout_ms % 1000 * 1000,
	};
	struct client *client;

	client = calloc(1, sizeof(*client));
	if (!client)
		return -ENOMEM;
	client->stream = bufferevent_socket_new(admin->options.base, fd, BEV_OPT_CLOSE_ON_FREE);
	if (!client->stream) {
		free(client);
		return -ENOMEM;
	}
	client->admin = admin;
	client->next = admin->clients;
	client->link = &admin->clients;
	if (client->next)
		client->next->link = &client->next;
	admin->clients = client;
	if (++admin->client_count == admin->options.clients_max)
		acceptor_pause(admin->acceptor);
	bufferevent_setcb(client->stream, on_readable, on_written, on_event, client);
	bufferevent_setwatermark(client->stream, EV_READ, 0, admin->options.request_bytes_max);
	bufferevent_set_timeouts(client->stream, &timeout, &timeout);
	bufferevent_enable(client->stream, EV_READ);
	return 0;
}

static void on_accepted(void *arg, int fd)
{
	struct admin *admin = arg;
	int r;

	/* The file's mode keeps others out already; a descriptor that was passed on does not count. */
	if (!is_root(fd)) {
		close(fd);
		return;
	}
	r = client_new(admin, fd);
	if (r) {
		log_warn(r, "control socket: a client is turned away");
		close(fd);
	}
}

int admin_new(struct admin **out, const struct admin_options *options)
{
	struct admin *admin;
	int r;

	admin = calloc(1, sizeof(*admin));
	if (!admin)
		return -ENOMEM;
	admin->options = *options;
	if (!admin->options.clients_max)
		admin->options.clients_max = CLIENTS_MAX;
	if (!admin->options.request_bytes_max)
		admin->options.request_bytes_max = REQUEST_BYTES_MAX;
	if (!admin->options.timeout_ms)
		admin->options.timeout_ms = TIMEOUT_MS;
	r = acceptor_new(&admin->acceptor, options->base, options->listener_fd, on_accepted, admin);
	if (r) {
		admin_free(&admin);
		return r;
	}
	*out = admin;
	return 0;
}

void admin_free(struct admin **admin)
{
	if (!*admin)
		return;
	while ((*admin)->clients)
		client_free((*admin)->clients);
	acceptor_free(&(*admin)->acceptor);
	free(*admin);
	*admin = NULL;
}

/* mkdir -p of what is before the last slash. */
static int make_folder_of(const char *path)
{
	_cleanup_free_ char *folder = strdup(path);
	char *at;

	if (!folder)
		return -ENOMEM;
	for (at = strchr(folder + 1, '/'); at; at = strchr(at + 1, '/')) {
		*at = 0;
		if (mkdir(folder, 0755) < 0 && errno != EEXIST)
			return -errno;
		*at = '/';
	}
	return 0;
}

int admin_listen(const char *path, int *out)
{
	int r = make_folder_of(path);

	return r ? r : socket_listen(path, SOCK_STREAM, BACKLOG, out);
}
