// SPDX-License-Identifier: Apache-2.0
/* One connection's two threads: this file's first half connects and writes batch after batch, its second half drives the
 * reading of their answers. */
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "client.h"

enum {
	CONNECT_MS = 10000,
	CONTINUE_MS = 1000, /* how long to wait for a 100 before the body is sent without it */
};

int connect_to(const struct place *place, const struct batch *batch)
{
	int fd = socket(place->any.sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
	int one = 1, receive = (int)batch->receive_buffer, transmit = (int)batch->send_buffer, error = 0;
	struct timeval limit = {.tv_sec = CONNECT_MS / 1000};
	socklen_t len = sizeof(error);

	if (fd < 0)
		return -errno;
	if (batch->no_delay)
		setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	if (receive)
		setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &receive, sizeof(receive));
	if (transmit)
		setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &transmit, sizeof(transmit));
	setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit));
	if (batch->connect_nonblocking || !batch->sleeps) {
		struct pollfd pfd = {.fd = fd, .events = POLLOUT};

		fcntl(fd, F_SETFL, O_NONBLOCK);
		if (connect(fd, &place->any, place->len) && errno == EINPROGRESS) {
			if (poll(&pfd, 1, CONNECT_MS) <= 0)
				error = ETIMEDOUT;
			else if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &len))
				error = errno;
		}
		if (batch->sleeps)
			fcntl(fd, F_SETFL, 0);
	} else if (connect(fd, &place->any, place->len)) {
		error = errno;
	}
	if (error) {
		close(fd);
		return -error;
	}
	return fd;
}

static bool open_connection(struct connection *c)
{
	struct client *client = c->client;
	int fd;

	c->target = c->batch.specs[0].target;
	fd = connect_to(&client->targets[c->target].place, &c->batch);
	if (fd < 0) {
		if (client->has_crashes && fd != -EINPROGRESS && fd != -ETIMEDOUT)
			atomic_fetch_add(&client->stats->allowed[ALLOW_crash], 1);
		else if (fd == -EINPROGRESS || fd == -ETIMEDOUT)
			report(c, 0, &client->stats->stuck, "STUCK", "connecting");
		else
			report(c, 0, &client->stats->error, "ERROR", "connecting: %s", strerror(-fd));
		sleep_ms(200);
		return false;
	}
	pthread_mutex_lock(&c->lock);
	io_open(&c->io, fd, &c->beat, c->batch.sleeps);
	c->io.forgives_eagain = client->forgives_eagain && c->batch.connect_nonblocking;
	reader_reset(&c->reader, &c->io);
	c->is_open = true;
	c->may_have_ended = false;
	pthread_mutex_unlock(&c->lock);
	atomic_store(&c->is_stuck, false);
	atomic_fetch_add(&client->stats->connections, 1);
	return true;
}

static void close_connection(struct connection *c, bool reset)
{
	pthread_mutex_lock(&c->lock); /* the watchdog looks at the descriptor under it */
	io_close(&c->io, reset);
	c->is_open = false;
	pthread_mutex_unlock(&c->lock);
}

/* Says goodbye between requests and expects nothing but the other side's goodbye. */
static void close_gracefully(struct connection *c)
{
	struct result result = {};

	atomic_store(&c->allowed_ms, 0);
	atomic_store(&c->beat.at_ms, now_ms());
	atomic_store(&c->is_busy, true);
	c->batch.count = 1;
	shutdown(c->io.fd, SHUT_WR);
	read_end(c, &result, !c->may_have_ended);
	atomic_store(&c->is_busy, false);
	if (atomic_load(&c->is_stuck))
		return;
	if (result.outcome == OUTCOME_WRONG)
		report(c, 0, &c->client->stats->wrong, "WRONG", "closing: %s", result.detail);
	if (result.outcome == OUTCOME_FAILED)
		report(c, 0, &c->client->stats->error, "ERROR", "closing: %s", strerror(-result.error));
}

/* Waits until `*number` is at least `least`, the connection is over, or `ms` passed (0: for ever). Under c->lock. */
static bool wait_for(struct connection *c, const unsigned int *number, unsigned int least, uint64_t ms)
{
	uint64_t end = now_ms() + ms;

	while (*number < least && !c->is_over && (!ms || now_ms() < end)) {
		struct timespec until;

		clock_gettime(CLOCK_REALTIME, &until);
		until.tv_nsec += 100000000;
		if (until.tv_nsec >= 1000000000) {
			until.tv_sec++;
			until.tv_nsec -= 1000000000;
		}
		pthread_cond_timedwait(&c->changed, &c->lock, &until);
	}
	return *number >= least;
}

/* After the head of a request that expects a 100: whether its body is to be sent. */
static bool wait_for_continue(struct connection *c, unsigned int idx)
{
	uint64_t end = now_ms() + CONTINUE_MS;
	bool is_wanted;

	pthread_mutex_lock(&c->lock);
	while (!c->got_continue && c->begun <= idx && !c->is_over && now_ms() < end)
		wait_for(c, &c->begun, idx + 1, 20);
	is_wanted = c->got_continue || c->begun <= idx;
	if (!is_wanted)
		c->skipped_body = true;
	pthread_mutex_unlock(&c->lock);
	return is_wanted;
}

static void prepare_sending(struct connection *c, const struct spec *spec)
{
	struct sending *sending = &c->sending;

	sending->io = &c->io;
	sending->rng.state = rng_next(&c->rng);
	sending->split = (enum split)spec->request_split;
	sending->mode = (enum write_mode)spec->request_write;
	sending->piece = spec->request_piece;
	sending->gap_ms = spec->request_gap_ms;
	sending->stall_at = spec->request_stall_at;
	sending->stall_ms = spec->request_stall_ms;
	sending->cut_at = UINT64_MAX;
}

static bool breaks_in_sending(const struct spec *spec)
{
	return spec->client_fault == CLIENT_CLOSE_SENDING || spec->client_fault == CLIENT_RESET_SENDING ||
	       spec->client_fault == CLIENT_HALF_SENDING;
}

/* Whether request `idx` must go out by itself and not together with those before it. */
static bool goes_alone(const struct spec *spec)
{
	return spec->staggered || spec->expect || breaks_in_sending(spec);
}

/* Does what the schedule wants done when a request was cut. */
static void break_off(struct connection *c, const struct spec *spec)
{
	if (spec->client_fault == CLIENT_HALF_SENDING)
		shutdown(c->io.fd, SHUT_WR);
	else
		shutdown(c->io.fd, SHUT_RD); /* tells nobody, only wakes our reader; the close follows */
}

static int write_group(struct connection *c, struct wire *wires, unsigned int idx, unsigned int end)
{
	const struct spec *spec = &c->batch.specs[idx];
	int r;

	prepare_sending(c, spec);
	if (spec->staggered) {
		pthread_mutex_lock(&c->lock);
		wait_for(c, &c->begun, idx, 0);
		pthread_mutex_unlock(&c->lock);
	}
	if (breaks_in_sending(spec))
		c->sending.cut_at = spec->client_fault_at;
	if (spec->expect) {
		c->sending.cut_at = wires[idx].head_len;
		r = wire_send(&c->sending, &wires[idx], 1);
		if (r < 0 || !wait_for_continue(c, idx))
			return r < 0 ? r : 1;
		prepare_sending(c, spec);
	}
	r = wire_send(&c->sending, &wires[idx], end - idx);
	if (breaks_in_sending(spec) && r >= 0)
		break_off(c, spec);
	else if (!r && c->batch.specs[end - 1].client_fault == CLIENT_HALF_SENT)
		shutdown(c->io.fd, SHUT_WR);
	return r;
}

static void write_batch(struct connection *c)
{
	struct wire wires[BATCH_MAX];
	int r = 0;

	for (unsigned int i = 0; i < c->batch.count; i++) {
		const struct spec *spec = &c->batch.specs[i];
		size_t head_len = write_request_head(c->client, spec, c->heads[i], CLIENT_HEAD_BYTES);

		wire_begin(&wires[i], c->heads[i], head_len, (enum framing)spec->request_framing,
			   bytes_key(spec->run, spec->conn, spec->req, BYTES_REQUEST_BODY), spec->request_body,
			   bytes_key(spec->run, spec->conn, spec->req, BYTES_REQUEST_CHUNKS));
	}
	atomic_store(&c->beat.writing, "requests");
	for (unsigned int i = 0; i < c->batch.count && !r;) {
		unsigned int end = i + 1;

		while (end < c->batch.count && !goes_alone(&c->batch.specs[i]) && !goes_alone(&c->batch.specs[end]))
			end++;
		r = write_group(c, wires, i, end);
		i = end;
	}
	atomic_store(&c->beat.writing, NULL);
	c->write_error = r < 0 ? r : 0;
}

static uint64_t pauses_of(const struct batch *batch)
{
	uint64_t ms = 0;

	for (unsigned int i = 0; i < batch->count; i++) {
		const struct spec *spec = &batch->specs[i];

		ms += spec->delay_ms + spec->reply_stall_ms + spec->request_stall_ms + spec->server_stall_ms + spec->read_delay_ms + spec->stall_ms +
		      10 * (spec->reply_gap_ms + spec->request_gap_ms) + (spec->expect ? CONTINUE_MS : 0);
	}
	return ms;
}

/* Whether the connection must not carry another batch, and how it is closed. */
static bool must_close(struct connection *c, bool *reset)
{
	const struct spec *last = &c->batch.specs[c->batch.count - 1];

	*reset = last->client_fault == CLIENT_RESET_SENDING || last->client_fault == CLIENT_RESET_REPLY;
	return c->is_over || c->skipped_body || c->write_error || last->client_fault || atomic_load(&c->is_stuck);
}

static bool ends_in_silence(const struct connection *c)
{
	for (unsigned int i = 0; i < c->batch.count; i++) {
		const struct spec *spec = &c->batch.specs[i];

		/* A proxy is to hide what its server does between exchanges; plain TCP can't, and an early answer excuses both. */
		if (spec->early || c->client->has_crashes || (c->client->is_direct && spec->after >= AFTER_SILENT))
			return true;
	}
	return false;
}

static void run_batch(struct connection *c)
{
	bool reset;

	pthread_mutex_lock(&c->lock);
	memset(c->results, 0, sizeof(c->results));
	c->write_error = 0;
	c->got_continue = false;
	c->begun = 0;
	c->is_over = false;
	c->is_written = false;
	c->begun_ms = now_ms();
	c->skipped_body = false;
	atomic_store(&c->allowed_ms, pauses_of(&c->batch));
	atomic_store(&c->beat.at_ms, now_ms());
	atomic_store(&c->is_busy, true);
	c->is_reading = true;
	pthread_cond_broadcast(&c->changed);
	pthread_mutex_unlock(&c->lock);

	write_batch(c);

	pthread_mutex_lock(&c->lock);
	c->is_written = true;
	pthread_cond_broadcast(&c->changed);
	while (c->is_reading)
		pthread_cond_wait(&c->changed, &c->lock);
	pthread_mutex_unlock(&c->lock);
	atomic_store(&c->is_busy, false);

	if (must_close(c, &reset))
		close_connection(c, reset);
	judge_batch(c);
	c->may_have_ended = ends_in_silence(c);
}

static void plan_batch(struct connection *c)
{
	const struct client *client = c->client;
	uint64_t conn = client->is_replay ? client->replay_conn : c->conn;
	uint64_t batch_no = client->is_replay ? client->replay_batch : c->batch_no;

	schedule_batch(&client->schedule, conn, batch_no, c->next_req, &c->batch);
	for (unsigned int i = 0; i < c->batch.count; i++) {
		c->batch.specs[i].conn = c->conn;
		if (c->batch.specs[i].bare)
			spec_derive_bare(&c->batch.specs[i]); /* which follows from the connection that replays it */
	}
	c->next_req += c->batch.count;
	c->batch.starts_anew = c->batch.starts_anew || client->reconnects;
}

void *connection_thread(void *arg)
{
	struct connection *c = arg;
	struct client *client = c->client;

	while (!atomic_load(&client->stats->is_stopping) && (!client->max_batches || c->batch_no < client->max_batches)) {
		plan_batch(c);
		if (c->is_open && c->batch.starts_anew) {
			struct batch planned = c->batch;

			if (!c->batch.starts_by_reset)
				close_gracefully(c);
			close_connection(c, c->batch.starts_by_reset);
			c->batch = planned;
		}
		sleep_ms(c->batch.think_ms);
		if (c->is_open || open_connection(c)) {
			for (unsigned int i = 0; client->is_direct && i < c->batch.count; i++) {
				c->batch.specs[i].target = c->target;
				c->batch.specs[i].keep_alive = 0; /* nobody is there to take the line out */
			}
			run_batch(c);
		}
		c->batch_no++;
	}
	if (c->is_open) {
		close_gracefully(c);
		close_connection(c, false);
	}
	pthread_mutex_lock(&c->lock);
	c->is_quitting = true;
	pthread_cond_broadcast(&c->changed);
	pthread_mutex_unlock(&c->lock);
	return NULL;
}

static void read_batch(struct connection *c)
{
	unsigned int i;
	bool goes_on = true;

	pthread_mutex_lock(&c->lock);
	while (c->batch.specs[0].serial && !c->is_written)
		pthread_cond_wait(&c->changed, &c->lock);
	pthread_mutex_unlock(&c->lock);
	for (i = 0; i < c->batch.count && goes_on; i++) {
		atomic_store(&c->reading_idx, i);
		goes_on = read_answer(c, i);
		c->results[i].end_ms = now_ms();
	}
	if (!goes_on) {
		struct result *last = &c->results[i - 1];
		const struct spec *spec = &c->batch.specs[i - 1];
		bool is_whole = last->outcome == OUTCOME_COMPLETE || last->outcome == OUTCOME_LOCAL;

		pthread_mutex_lock(&c->lock);
		c->is_over = true;
		pthread_cond_broadcast(&c->changed);
		pthread_mutex_unlock(&c->lock);
		/* A fault of ours is still to be done to the connection; any other end is final for the writer too. */
		if (last->outcome == OUTCOME_ABANDONED)
			return;
		if (is_whole && i == c->batch.count)
			read_end(c, last, !spec->early && !spec->expect && last->outcome == OUTCOME_COMPLETE);
		shutdown(c->io.fd, SHUT_RDWR);
	}
}

void *reader_thread(void *arg)
{
	struct connection *c = arg;

	pthread_mutex_lock(&c->lock);
	for (;;) {
		while (!c->is_reading && !c->is_quitting)
			pthread_cond_wait(&c->changed, &c->lock);
		if (!c->is_reading)
			break;
		pthread_mutex_unlock(&c->lock);
		read_batch(c);
		atomic_store(&c->beat.reading, NULL);
		pthread_mutex_lock(&c->lock);
		c->is_reading = false;
		pthread_cond_broadcast(&c->changed);
	}
	pthread_mutex_unlock(&c->lock);
	return NULL;
}
