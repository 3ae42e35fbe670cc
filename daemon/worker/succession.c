/* SPDX-License-Identifier: Apache-2.0 */
/* One weftd follows another without a connection's end: the old one's worker hands over all that the table names, the new one's takes it over as
 * from a worker that died, only that nothing is half done. keeper/pass.h has the conversation. */
#include <errno.h>
#include <event2/event.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "abi_layout.h"
#include "admin/server.h"
#include "base/acceptor.h"
#include "base/cleanup.h"
#include "base/log.h"
#include "base/pins.h"
#include "base/step.h"
#include "datapath/datapath.h"
#include "keeper/pass.h"
#include "pool/pool.h"
#include "proxy/proxy.h"
#include "worker/internal.h"

#define SHORT_MS 50       /* exchanges that end within it need not be kept: meanwhile others wait */
#define LOOK_MS 2
#define LINGER_LOOK_MS 50
#define SEND_MS 5000
#define SERVE_MS 20000     /* who has all and has not taken over by then is ended */

/* What is told when the new weftd serves. */
struct news {
	struct news *next;
	enum pass_kind kind;
	uint64_t value, cookie;
	struct table_entry *entry; /* ENTRIES */
};

struct succession {
	struct worker *worker;
	struct acceptor *acceptor;
	struct event *look_event, *news_event;
	/* the old one's side */
	struct event *channel_event;
	int channel;               /* to the one that asks; -1: none, or it is gone */
	int peer;                  /* its process, a pidfd; -1: not to be seen from here */
	bool is_leaving;
	bool is_handed_over;       /* it serves */
	bool is_asked_to_end;      /* meanwhile */
	uint64_t short_until_ms;   /* 0: over */
	uint64_t serve_until_ms;   /* 0: over */
	uint32_t sent;
	struct pass_message batch;
	int news_fd;
	pthread_mutex_t lock;
	struct news *news, **news_tail;
	/* the new one's side */
	struct former *formers;
};

/* A weftd before this one that still has something open. */
struct former {
	struct former *next;
	struct worker *worker;
	struct table_entry *entry;
	struct event *event;
};

/* ---- news ------------------------------------------------------------------------------------------------------------------------ */

/* Any thread. */
static void add_news(struct succession *s, const struct news *what)
{
	struct news *news = malloc(sizeof(*news));
	uint64_t one = 1;

	if (!news) {
		/* The new one finds out by itself when this one is gone. */
		log_err(-ENOMEM, "telling the weftd that follows");
		return;
	}
	*news = *what;
	news->next = NULL;
	pthread_mutex_lock(&s->lock);
	*s->news_tail = news;
	s->news_tail = &news->next;
	pthread_mutex_unlock(&s->lock);
	if (write(s->news_fd, &one, sizeof(one)) < 0 && errno != EAGAIN)
		log_err(-errno, "waking the control loop");
}

static struct news *take_news(struct succession *s)
{
	struct news *news;

	pthread_mutex_lock(&s->lock);
	news = s->news;
	s->news = NULL;
	s->news_tail = &s->news;
	pthread_mutex_unlock(&s->lock);
	return news;
}

static void drop_entry(struct succession *s, struct table_entry *entry)
{
	int fd = entry->fd;

	table_release(s->worker->table, entry);
	if (fd >= 0)
		close(fd);
}

static void tell(struct succession *s, const struct news *news)
{
	struct pass_message message = { .kind = news->kind, .value = news->value, .cookie = news->cookie };
	int r = -EPIPE;

	if (news->entry) {
		message.count = 1;
		message.entries[0] = *news->entry;
		message.entries[0].kind = table_kept_kind(news->entry);
	}
	if (s->channel >= 0)
		r = pass_send_wait(s->channel, &message, SEND_MS);
	if (r && r != -EPIPE)
		log_warn(r, "telling the weftd that follows");
	/* Its own descriptor is open there, or the client is told by the end of this one. */
	if (news->entry)
		drop_entry(s, news->entry);
}

static void tell_news(struct succession *s)
{
	struct news *news, *next;

	for (news = take_news(s); news; news = next) {
		next = news->next;
		tell(s, news);
		free(news);
	}
}

static void on_news(evutil_socket_t fd, short what, void *arg)
{
	struct succession *s = arg;
	uint64_t count;

	(void)what;
	if (read(fd, &count, sizeof(count)) < 0 && errno != EAGAIN)
		log_err(-errno, "reading a counter of events");
	if (s->is_handed_over)
		tell_news(s);
}

/* On a thread of the proxy. Of what goes with all others nothing needs to be said. */
static void let_go(void *arg, struct table_entry *entry)
{
	if (entry->kind == TABLE_KEPT)
		add_news(arg, &(struct news){ .kind = PASS_ENTRIES, .entry = entry });
}

static void slot_over(void *arg, uint32_t slot)
{
	add_news(arg, &(struct news){ .kind = PASS_SLOT_OVER, .value = slot });
}

static void client_gone(void *arg, uint64_t client_cookie, uint64_t exchange)
{
	add_news(arg, &(struct news){ .kind = PASS_CLIENT_GONE, .value = exchange, .cookie = client_cookie });
}

/* ---- leaving --------------------------------------------------------------------------------------------------------------------- */

static uint32_t held(const struct succession *s)
{
	struct proxy_stats proxy;

	proxy_stats(s->worker->proxy, &proxy);
	return (uint32_t)proxy.connections + pool_kept_count(s->worker->pool);
}

static void look_again(struct succession *s, int ms)
{
	const struct timeval delay = { .tv_usec = ms * 1000 };

	event_add(s->look_event, &delay);
}

/* Nothing of this process may touch what another one has now, so it ends without a farewell. */
static void __attribute__((noreturn)) vanish(struct succession *s, enum keeper_exit status)
{
	(void)s;
	step("replace: the old worker ends");
	_exit(status);
}

static void lost(struct succession *s)
{
	if (s->channel_event)
		event_free(TAKE_PTR(s->channel_event));
	close(s->channel);
	s->channel = -1;
	if (s->peer >= 0)
		close(s->peer);
	s->peer = -1;
	if (!s->is_leaving) {
		beside_lost(s->worker);
		return;
	}
	if (s->is_handed_over) {
		log_warning("the weftd that replaced this one is gone");
		pods_release_claims(s->worker); /* it had them with this one, which takes no new connections */
		return;
	}
	__atomic_store_n(&s->worker->state->is_replaced, 0, __ATOMIC_RELEASE);
	if (s->is_asked_to_end)
		vanish(s, KEEPER_EXIT_DONE);
	log_error("the weftd that was to replace this one went away before it served: a next worker of this one takes everything up again");
	vanish(s, KEEPER_EXIT_FAILED);
}

static int send_batch(struct succession *s)
{
	int r = s->batch.count ? pass_send_wait(s->channel, &s->batch, SEND_MS) : 0;

	s->sent += s->batch.count;
	s->batch.count = 0;
	return r;
}

struct giving {
	struct succession *succession;
	int r;
};

/* What is kept is a thread's of the proxy, which may release it and close its descriptor at any moment: looked at once. */
static enum table_kind kind_of(const struct table_entry *entry)
{
	return (enum table_kind)__atomic_load_n(&entry->kind, __ATOMIC_ACQUIRE);
}

static void give(void *arg, struct table_entry *entry)
{
	struct giving *giving = arg;
	struct succession *s = giving->succession;
	struct table_entry *out = &s->batch.entries[s->batch.count];
	enum table_kind kind = kind_of(entry);

	/* Kept upstreams are this thread's. */
	if (giving->r || kind == TABLE_FREE || kind == TABLE_RESERVED || (kind == TABLE_KEPT && table_kept_kind(entry) != TABLE_UPSTREAM))
		return;
	*out = *entry;
	if (kind == TABLE_KEPT) {
		out->kind = TABLE_ELSEWHERE;
		out->fd = -1;
		out->cookie = 0; /* mine: the other side says what it calls me */
	}
	s->batch.kind = PASS_ENTRIES;
	if (++s->batch.count == PASS_ENTRIES_MAX)
		giving->r = send_batch(s);
}

/* What they say from here on is for the one that follows, which has their channels too. */
static void stop_listening(struct succession *s)
{
	while (s->formers) {
		struct former *former = s->formers;

		s->formers = former->next;
		if (former->event)
			event_free(former->event);
		free(former);
	}
}

static void take_back(void *arg, uint32_t slot, uint32_t lease)
{
	pool_take_back(arg, WEFT_EXCHANGE(slot, lease));
}

static int send_end(struct succession *s)
{
	const struct pass_message end = { .kind = PASS_END, .count = s->sent, .value = s->worker->state->generation,
					  .cookie = table_last_pod_id(s->worker->table) };

	/* It goes on by itself from here on: no further worker of this weftd may, should this one die without a word. */
	__atomic_store_n(&s->worker->state->is_replaced, 1, __ATOMIC_RELEASE);
	return pass_send_wait(s->channel, &end, SEND_MS);
}

static void hand_over(struct succession *s)
{
	const struct pool_kept kept = { .arg = s, .slot_over = slot_over, .client_gone = client_gone };
	struct giving giving = { .succession = s };

	s->short_until_ms = 0;
	stop_listening(s);
	proxy_keep(s->worker->proxy);
	proxy_unaccepted(s->worker->proxy, take_back, s->worker->pool);
	pool_keep(s->worker->pool, &kept);
	table_each(s->worker->table, give, &giving);
	if (!giving.r)
		giving.r = send_batch(s);
	step("replace: descriptors sent");
	if (!giving.r)
		giving.r = send_end(s);
	step("replace: all handed over");
	if (!giving.r) {
		s->serve_until_ms = worker_now_ms() + SERVE_MS;
		look_again(s, LINGER_LOOK_MS);
		return;
	}
	log_err(giving.r, "handing %u descriptors over", s->sent);
	lost(s);
}

/* It hangs, with connections that nobody serves meanwhile. This one can't go on beside it; the end of its process is the end of the channel. */
void succession_end_follower(struct worker *worker, unsigned waited_ms)
{
	struct succession *s = worker->succession;

	s->serve_until_ms = 0;
	log_error("the weftd that was to replace this one has not begun to serve within %u s: %s", waited_ms / 1000,
		  s->peer >= 0 ? "it is killed" : "kill it, then this one goes on");
	if (s->peer >= 0 && syscall(SYS_pidfd_send_signal, s->peer, SIGKILL, NULL, 0u) < 0 && errno != ESRCH)
		log_err(-errno, "killing it");
}

static void on_look(evutil_socket_t fd, short what, void *arg)
{
	struct succession *s = arg;
	uint32_t count = held(s);

	(void)fd;
	(void)what;
	if (s->short_until_ms) {
		if (count == 0 || worker_now_ms() >= s->short_until_ms)
			hand_over(s);
		else
			look_again(s, LOOK_MS);
		return;
	}
	if (!s->is_handed_over && s->serve_until_ms && worker_now_ms() >= s->serve_until_ms)
		succession_end_follower(s->worker, SERVE_MS);
	if (s->is_handed_over && count == 0) {
		tell_news(s);
		log_info("all that was open here has ended");
		vanish(s, KEEPER_EXIT_DONE);
	}
	look_again(s, LINGER_LOOK_MS);
}

static void claim(void *arg, uint64_t exchange)
{
	pool_claim(arg, exchange);
}

/* Who serves changes: from here on nothing is begun. */
static void leave(struct succession *s)
{
	struct worker *worker = s->worker;
	int r;

	log_info("another weftd takes over");
	handover_finish_loading(worker);
	s->is_leaving = true;
	worker->is_stopping = true;
	admin_free(&worker->admin);
	http_stop(worker);
	event_free(TAKE_PTR(worker->ring_event));
	event_del(worker->prepare_event);
	names_stop(worker);
	scopes_stop(worker);
	proxy_leave(worker->proxy, let_go, s);
	r = proxy_awaited_exchanges(worker->proxy, claim, worker->pool);
	if (r)
		log_err(r, "asking which exchanges are waited for: some may never be answered");
	pool_leave(worker->pool);
	s->short_until_ms = worker_now_ms() + SHORT_MS;
	on_look(-1, 0, s);
}

static void close_given(void *arg, struct table_entry *entry)
{
	enum table_kind kind = kind_of(entry);

	if (kind != TABLE_KEPT && kind != TABLE_FREE && kind != TABLE_RESERVED)
		drop_entry(arg, entry);
}

/* All that was given is open there too, so nobody notices that it is closed here. */
static void it_serves(struct succession *s)
{
	uint32_t count;

	if (!s->is_leaving || s->short_until_ms || s->is_handed_over)
		return;
	s->is_handed_over = true;
	succession_listen(s->worker, false);
	table_each(s->worker->table, close_given, s);
	count = held(s);
	if (count)
		log_info("another weftd serves; %u exchanges that take longer end here", count);
	tell_news(s);
	if (s->is_asked_to_end)
		vanish(s, KEEPER_EXIT_DONE);
	on_look(-1, 0, s);
}

static int answer(struct succession *s, const struct pass_message *message)
{
	struct pass_message welcome = { .kind = PASS_WELCOME, .count = (uint32_t)getppid(), .value = PASS_ABI,
		.cookie = pins_identity(s->worker->config->options->bpffs, PASS_ABI) };

	switch (message->kind) {
	case PASS_HELLO:
		return pass_send(s->channel, &welcome);
	case PASS_GIVE:
		if (s->worker->is_stopping || s->worker->beside)
			return -EBUSY;
		leave(s);
		return 0;
	case PASS_YIELD:
		return beside_yield(s->worker, s->channel);
	case PASS_SETTLED:
		return beside_give_places(s->worker, s->channel);
	case PASS_SERVING:
		if (beside_is_yielding(s->worker))
			return beside_drain(s->worker);
		it_serves(s);
		return 0;
	default:
		pass_close(message);
		return -EPROTO;
	}
}

static void on_channel(evutil_socket_t fd, short what, void *arg)
{
	struct succession *s = arg;
	struct pass_message message;
	int r;

	(void)fd;
	(void)what;
	while ((r = pass_receive(s->channel, &message)) == 0) {
		r = answer(s, &message);
		if (r)
			break;
	}
	if (r != -EAGAIN)
		lost(s);
}

static int peer_of(int channel)
{
	struct ucred who;
	socklen_t size = sizeof(who);

	if (getsockopt(channel, SOL_SOCKET, SO_PEERCRED, &who, &size) < 0 || who.pid <= 0)
		return -1;
	return (int)syscall(SYS_pidfd_open, who.pid, 0u);
}

static void on_accepted(void *arg, int channel)
{
	struct succession *s = arg;

	/* One at a time. */
	if (s->channel >= 0 || s->worker->is_stopping) {
		close(channel);
		return;
	}
	s->channel = channel;
	s->peer = peer_of(channel);
	s->channel_event = event_new(s->worker->base, channel, EV_READ | EV_PERSIST, on_channel, s);
	if (!s->channel_event || event_add(s->channel_event, NULL))
		lost(s);
}

void succession_stop(struct worker *worker)
{
	struct succession *s = worker->succession;

	if (s && s->is_handed_over)
		vanish(s, KEEPER_EXIT_DONE);
	/* Else it is seen first who is to serve. */
	if (s)
		s->is_asked_to_end = s->is_leaving;
}

/* ---- following ------------------------------------------------------------------------------------------------------------------- */

static void take_late(struct worker *worker, const struct table_entry *told)
{
	struct table_entry *entry = table_import(worker->table, told);

	if (entry && told->kind == TABLE_ANCHOR && proxy_adopt_anchor(worker->proxy, entry) == 0)
		return;
	if (entry)
		table_release(worker->table, entry);
	close(told->fd);
}

struct slot_search {
	struct worker *worker;
	uint64_t cookie; /* of the channel */
	uint32_t slot;   /* UINT32_MAX: all of them */
	bool is_lost;
};

static void slot_is_over(void *arg, struct table_entry *entry)
{
	struct slot_search *search = arg;

	if (entry->kind != TABLE_ELSEWHERE || entry->cookie != search->cookie || (search->slot != UINT32_MAX && entry->slot != search->slot))
		return;
	pool_elsewhere_over(search->worker->pool, entry->slot, search->is_lost);
	table_release(search->worker->table, entry);
}

static void former_over(struct former *former)
{
	struct slot_search lost_slots = { former->worker, former->entry->cookie, UINT32_MAX, true };
	struct worker *worker = former->worker;
	struct former **at = &former->worker->succession->formers;
	int fd = former->entry->fd;

	while (*at != former)
		at = &(*at)->next;
	*at = former->next;

	table_each(former->worker->table, slot_is_over, &lost_slots);
	load_settle(former->worker, former->entry->cookie);
	table_release(former->worker->table, former->entry);
	event_free(former->event);
	close(fd);
	free(former);
	log_info("the weftd before this one has ended");
	beside_former_gone(worker);
}

static void take_news_of(struct former *former, const struct pass_message *message)
{
	struct slot_search search = { former->worker, former->entry->cookie, (uint32_t)message->value, false };

	switch (message->kind) {
	case PASS_ENTRIES:
		for (uint32_t i = 0; i < message->count; i++)
			take_late(former->worker, &message->entries[i]);
		break;
	case PASS_SLOT_OVER:
		table_each(former->worker->table, slot_is_over, &search);
		break;
	case PASS_CLIENT_GONE:
		pool_client_gone(former->worker->pool, message->cookie, message->value);
		break;
	case PASS_YIELDED:
		beside_hear_count(former->worker, message->count);
		break;
	case PASS_PLACES:
		beside_take_places(former->worker, message);
		break;
	default:
		break;
	}
}

static void on_former(evutil_socket_t fd, short what, void *arg)
{
	struct former *former = arg;
	struct pass_message message;
	int r;

	(void)what;
	while ((r = pass_receive(fd, &message)) == 0)
		take_news_of(former, &message);
	if (r != -EAGAIN)
		former_over(former);
}

static void say_to_former(void *arg, struct table_entry *entry)
{
	int r;

	if (entry->kind != TABLE_CHANNEL)
		return;
	r = pass_send(entry->fd, arg);
	if (r && r != -EPIPE)
		log_err(r, "talking to the weftd before this one");
	step("replace: the old one told");
}

void succession_say(struct worker *worker, enum pass_kind kind)
{
	table_each(worker->table, say_to_former, &(struct pass_message){ .kind = kind });
}

/* By each worker of this weftd: to hear it again does no harm. */
void succession_take_over(struct worker *worker)
{
	/* One of another ABI goes on meanwhile. */
	if (worker->has_taken_over || beside_is_settling(worker))
		return;
	worker->has_taken_over = true;
	if (worker->config->replaces) {
		step("replace: takes over");
		/* First: should this worker die in between, the next one says it. */
		__atomic_store_n(&worker->state->has_served, 1, __ATOMIC_RELEASE);
	}
	succession_say(worker, PASS_SERVING);
}

static void watch_former(void *arg, struct table_entry *entry)
{
	struct worker *worker = arg;
	struct former *former;

	if (entry->kind != TABLE_CHANNEL)
		return;
	former = calloc(1, sizeof(*former));
	if (!former) {
		log_err(-ENOMEM, "watching the weftd before this one");
		return;
	}
	*former = (struct former){ .next = worker->succession->formers, .worker = worker, .entry = entry };
	worker->succession->formers = former;
	former->event = event_new(worker->base, entry->fd, EV_READ | EV_PERSIST, on_former, former);
	if (!former->event || event_add(former->event, NULL))
		log_err(-ENOMEM, "watching the weftd before this one");
}

/* ---------------------------------------------------------------------------------------------------------------------------------- */

void succession_listen(struct worker *worker, bool is_heard)
{
	const struct table_entry *listener = table_find(worker->table, TABLE_SUCCESSION, 0);
	struct succession *s = worker->succession;
	int r;

	acceptor_free(&s->acceptor);
	if (!is_heard || !listener)
		return;
	r = acceptor_new(&s->acceptor, worker->base, listener->fd, on_accepted, s);
	if (r)
		log_err(r, "listening for a weftd that is to follow");
}

int succession_start(struct worker *worker)
{
	struct succession *s = calloc(1, sizeof(*s));
	int r;

	if (!s)
		return -ENOMEM;
	worker->succession = s;
	s->worker = worker;
	s->channel = s->peer = -1;
	s->news_tail = &s->news;
	pthread_mutex_init(&s->lock, NULL);
	s->news_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	if (s->news_fd < 0)
		return -errno;
	succession_take_over(worker);
	table_each(worker->table, watch_former, worker);
	load_settle_orphans(worker);
	r = beside_start(worker);
	if (r)
		return r;
	s->news_event = event_new(worker->base, s->news_fd, EV_READ | EV_PERSIST, on_news, s);
	s->look_event = evtimer_new(worker->base, on_look, s);
	if (!s->news_event || !s->look_event || event_add(s->news_event, NULL))
		return -ENOMEM;
	succession_listen(worker, true);
	return 0;
}

void succession_free(struct worker *worker)
{
	struct succession *s = worker->succession;

	beside_free(worker);
	if (!s)
		return;
	stop_listening(s);
	if (s->channel >= 0)
		close(s->channel);
	if (s->peer >= 0)
		close(s->peer);
	if (s->channel_event)
		event_free(s->channel_event);
	acceptor_free(&s->acceptor);
	if (s->news_event)
		event_free(s->news_event);
	if (s->look_event)
		event_free(s->look_event);
	if (s->news_fd >= 0)
		close(s->news_fd);
	pthread_mutex_destroy(&s->lock);
	free(s);
	worker->succession = NULL;
}
