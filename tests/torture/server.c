// SPDX-License-Identifier: Apache-2.0
/* torture-server --name NAME --listen ADDRESS:PORT --ledger FILE [--crashes] [--sleeps]: accepts, and runs one thread a connection. With --sleeps its
 * reads and writes block. */
#include "place.h"
#include "server.h"

#include <arpa/inet.h>
#include <errno.h>
#include <getopt.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
	LINGER_MS = 2000,
	QUIET_MS = 4000,
	PATIENCE_MS = 20000,
	THREAD_STACK = 256 * 1024,
};

/* Closes our direction and reads on for a while, for two reasons: bytes left unread would turn the FIN into a RST that
 * destroys the answer; and a request that comes now raced with the close, which its sender may look up in the ledger. */
static void hang_up(struct served *served, bool is_silent)
{
	uint64_t end = now_ms() + LINGER_MS;
	char text[1024], *id;
	size_t used = 0;
	unsigned long long run, conn, req;

	shutdown(served->io.fd, SHUT_WR);
	if (served->reader.end > served->reader.start) {
		used = served->reader.end - served->reader.start;
		used = used < sizeof(text) ? used : sizeof(text) - 1;
		memcpy(text, served->reader.buf + served->reader.start, used);
	}
	for (;;) {
		struct pollfd pfd = {.fd = served->io.fd, .events = POLLIN};
		uint64_t now = now_ms();
		char rest[16384];
		ssize_t n;

		text[used] = '\0';
		/* The path's last part: a mesh may have put anything before it, or nothing. */
		for (id = used ? strchr(text, '/') : NULL; id; id = strchr(id + 1, '/')) {
			if (sscanf(id, "/%llu.%llu.%llu", &run, &conn, &req) == 3 && strpbrk(id, "? "))
				atomic_fetch_or(ledger_entry(served->server->ledger, conn, req), is_silent ? LEDGER_RACED : LEDGER_BEHIND);
		}
		if (now >= end || poll(&pfd, 1, (int)(end - now)) <= 0)
			return;
		n = recv(served->io.fd, used < sizeof(text) - 1 ? text + used : rest, used < sizeof(text) - 1 ? sizeof(text) - 1 - used : sizeof(rest),
			 MSG_DONTWAIT);
		if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR))
			return;
		if (n > 0 && used < sizeof(text) - 1)
			used += (size_t)n;
	}
}

static void hang_up_idle(struct served *served)
{
	hang_up(served, true);
	io_close(&served->io, false);
}

/* A request that it destroys leaves no trace here. */
static void reset_idle(struct served *served)
{
	struct ledger *ledger = served->server->ledger;
	uint64_t number = ledger_idle_reset_begins(ledger, now_ms());

	io_close(&served->io, true);
	ledger_idle_reset_over(ledger, number, now_ms());
}

/* Whether the connection stayed idle for as long as the schedule lets it. */
static bool stays_idle(struct served *served)
{
	struct pollfd pfd = {.fd = served->io.fd, .events = POLLIN};

	return served->idle_ms != UINT64_MAX && served->reader.start == served->reader.end && poll(&pfd, 1, (int)served->idle_ms) == 0;
}

/* How a request's head is read: which schedule it belongs to is not known before. */
static enum read_mode head_read_mode(struct served *served)
{
	enum read_mode mode = (enum read_mode)rng_below(&served->rng, READ_BYTE);

	return mode == READ_FIONREAD && atomic_load(&served->server->ledger->shuns_fionread) ? READ_POLL : mode;
}

static void serve_all(struct served *served)
{
	struct ledger *ledger = served->server->ledger;

	for (;;) {
		enum verdict verdict;
		struct head head;
		int r;

		atomic_store(&served->is_idle, true);
		if (stays_idle(served)) {
			if (served->idle_reset)
				reset_idle(served);
			else
				hang_up_idle(served);
			return;
		}
		served->idle_ms = UINT64_MAX;
		reader_style(&served->reader, head_read_mode(served), 0, false);
		r = reader_head(&served->reader, &head);
		if (r == -EBADMSG)
			server_report(served, &ledger->wrong, "WRONG", "no HTTP head: %.*s", 100, served->reader.buf + served->reader.start);
		else if (r == -EAGAIN)
			server_report(served, &ledger->error, "ERROR", "%s", served->io.read_anomaly ? served->io.read_anomaly : "EAGAIN");
		if (r) {
			/* A head that never became whole is its sender's to judge: the request was not executed. */
			io_close(&served->io, false);
			return;
		}
		verdict = serve(served, &head);
		if (verdict == GO_ON)
			continue;
		if (verdict != RESET)
			hang_up(served, verdict == HANG_UP_SILENTLY);
		io_close(&served->io, verdict == RESET);
		return;
	}
}

static void *serve_thread(void *arg)
{
	struct served *served = arg;
	struct server *server = served->server;

	serve_all(served);

	pthread_mutex_lock(&server->lock);
	for (struct served **at = &server->connections; *at; at = &(*at)->next) {
		if (*at == served) {
			*at = served->next;
			break;
		}
	}
	pthread_mutex_unlock(&server->lock);
	reader_free(&served->reader);
	free(served->sending.buf);
	free(served->head_text);
	free(served);
	return NULL;
}

static void tune(struct served *served)
{
	int fd = served->io.fd;
	int one = 1;

	if (!rng_permille(&served->rng, 250))
		setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	if (rng_permille(&served->rng, 100)) {
		int size = (int)(16384 << rng_below(&served->rng, 3));

		setsockopt(fd, SOL_SOCKET, rng_permille(&served->rng, 500) ? SO_RCVBUF : SO_SNDBUF, &size, sizeof(size));
	}
}

static int start_connection(struct server *server, int fd)
{
	struct served *served = calloc(1, sizeof(*served));
	pthread_attr_t attr;
	pthread_t thread;
	int r;

	if (!served)
		return -ENOMEM;
	served->server = server;
	served->rng.state = mix64(atomic_fetch_add(&server->accepted, 1));
	served->idle_ms = UINT64_MAX;
	served->head_text = malloc(SERVER_HEAD_BYTES);
	if (!served->head_text || reader_init(&served->reader)) {
		free(served->head_text);
		free(served);
		return -ENOMEM;
	}
	io_open(&served->io, fd, &served->beat, server->sleeps);
	reader_reset(&served->reader, &served->io);
	tune(served);
	pthread_mutex_lock(&server->lock);
	served->next = server->connections;
	server->connections = served;
	pthread_mutex_unlock(&server->lock);

	pthread_attr_init(&attr);
	pthread_attr_setstacksize(&attr, THREAD_STACK);
	pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
	r = pthread_create(&thread, &attr, serve_thread, served);
	pthread_attr_destroy(&attr);
	if (r) {
		/* Going on without it would look like a fault of what is tested. */
		fprintf(stderr, "torture-server %s: no thread for a connection: %s\n", server->name, strerror(r));
		exit(1);
	}
	return 0;
}

/* Tells what each connection does that has not moved for a while, when a client says that it is stuck too; and keeps the
 * ledger's account of how much of its answer each connection got rid of. */
static void *watch_thread(void *arg)
{
	struct server *server = arg;
	uint64_t last_stuck = 0;

	for (;;) {
		uint64_t stuck, now;
		bool is_wanted;

		sleep_ms(200);
		now = now_ms();
		stuck = atomic_load(&server->ledger->stuck_at_ms);
		is_wanted = stuck != last_stuck;
		last_stuck = stuck;
		pthread_mutex_lock(&server->lock);
		for (struct served *served = server->connections; served; served = served->next) {
			uint64_t conn = atomic_load(&served->conn);
			const char *reading = atomic_load(&served->beat.reading), *writing = atomic_load(&served->beat.writing);
			int waiting = -1, unsent = -1;

			if (!atomic_load(&served->is_idle))
				atomic_store(&server->ledger->moved[conn % LEDGER_CONNECTIONS],
					     atomic_load(&served->beat.bytes_in) + atomic_load(&served->beat.bytes_out));
			if (writing)
				atomic_store(&server->ledger->written[conn % LEDGER_CONNECTIONS], atomic_load(&served->sending.written));
			if (!served->is_reported_stuck && (reading || writing) && atomic_load(&served->beat.at_ms) + server->patience_ms < now) {
				served->is_reported_stuck = true;
				server_report(served, &server->ledger->stuck, "STUCK", "%s stands still for %llu s, though no client pauses that long",
					      writing ? "the answer" : "the request", (unsigned long long)server->patience_ms / 1000);
			}
			if (!is_wanted || atomic_load(&served->beat.at_ms) + QUIET_MS > now || atomic_load(&served->is_idle))
				continue;
			ioctl(served->io.fd, FIONREAD, &waiting);
			ioctl(served->io.fd, TIOCOUTQ, &unsent);
			fprintf(stderr, "torture-server %s: state: conn=%llu req=%llu reading=%s writing=%s in=%llu out=%llu FIONREAD=%d unsent=%d [%s]\n",
				server->name, (unsigned long long)conn, (unsigned long long)atomic_load(&served->req), reading ? reading : "-",
				writing ? writing : "-", (unsigned long long)atomic_load(&served->beat.bytes_in),
				(unsigned long long)atomic_load(&served->beat.bytes_out), waiting, unsent, served->spec_text);
		}
		pthread_mutex_unlock(&server->lock);
	}
	return NULL;
}

static int listen_on(const char *where)
{
	struct place place;
	int one = 1, fd;

	if (!place_parse(where, &place))
		return -EINVAL;
	fd = socket(place.any.sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return -errno;
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	if (bind(fd, &place.any, place.len) || listen(fd, 4096)) {
		int r = -errno;

		close(fd);
		return r;
	}
	return fd;
}

int main(int argc, char **argv)
{
	static const struct option options[] = {
		{"name", required_argument, NULL, 'n'},
		{"listen", required_argument, NULL, 'l'},
		{"ledger", required_argument, NULL, 'g'},
		{"crashes", no_argument, NULL, 'C'},
		{"sleeps", no_argument, NULL, 's'},
		{"patience", required_argument, NULL, 'P'},
		{},
	};
	struct server server = {.name = "server", .patience_ms = PATIENCE_MS, .lock = PTHREAD_MUTEX_INITIALIZER};
	const char *where = NULL, *ledger = NULL;
	pthread_t watch;
	int fd, r, c;

	while ((c = getopt_long(argc, argv, "", options, NULL)) != -1) {
		switch (c) {
		case 'n': server.name = optarg; break;
		case 'l': where = optarg; break;
		case 'g': ledger = optarg; break;
		case 'C': server.has_crashes = true; break;
		case 's': server.sleeps = true; break;
		case 'P': server.patience_ms = strtoull(optarg, NULL, 0) * 1000; break;
		default: where = NULL; optind = argc; break;
		}
	}
	if (!where || !ledger) {
		fprintf(stderr, "usage: torture-server --name NAME --listen ADDRESS:PORT --ledger FILE [--crashes] [--sleeps] [--patience SECONDS]\n");
		return 2;
	}
	signal(SIGPIPE, SIG_IGN);
	r = ledger_open(ledger, &server.ledger);
	if (r) {
		fprintf(stderr, "torture-server %s: cannot open ledger %s: %s\n", server.name, ledger, strerror(-r));
		return 1;
	}
	fd = listen_on(where);
	if (fd < 0) {
		fprintf(stderr, "torture-server %s: cannot listen on %s: %s\n", server.name, where, strerror(-fd));
		return 1;
	}
	if (pthread_create(&watch, NULL, watch_thread, &server))
		return 1;
	for (;;) {
		int connection = accept4(fd, NULL, NULL, SOCK_CLOEXEC);

		if (connection >= 0) {
			if (start_connection(&server, connection))
				close(connection);
		} else if (errno == EMFILE || errno == ENFILE || errno == ENOMEM) {
			fprintf(stderr, "torture-server %s: accept: %s\n", server.name, strerror(errno));
			sleep_ms(100);
		}
	}
}
