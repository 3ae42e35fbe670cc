/* SPDX-License-Identifier: Apache-2.0 */
/* A weftd follows one of another ABI: nothing of the old one can be taken over, so both run until what is open in the old one has ended. Each has programs,
 * maps and pins of its own. Programs of both hang on the pods' cgroups, where the kernel runs all of them, the older ones first; each knows its sockets
 * by records of its own, and lets the others' alone. Of a connection that both could capture, the old one's connect4 makes one to the loopback, which the
 * new one's leaves alone. Not so where it picks an endpoint itself: the new one would look that address up, and might block it. So the old one picks
 * none, which takes its fast path off, while both capture. keeper/pass.h has the conversation. */
#include <errno.h>
#include <event2/event.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "abi_layout.h"
#include "admin/server.h"
#include "base/cleanup.h"
#include "base/leftovers.h"
#include "base/lock.h"
#include "base/log.h"
#include "base/pins.h"
#include "base/step.h"
#include "datapath/datapath.h"
#include "keeper/notes.h"
#include "keeper/pass.h"
#include "proxy/proxy.h"
#include "worker/internal.h"

#define LOOK_MS 50
#define SERVE_MS 120000   /* who does not serve by then is ended */
#define SWEEPS 5          /* one a second */
#define DRAIN_MIN_MS 1000 /* until what the listeners' queues hold is accepted */

enum beside_state {
	BESIDE_SETTLES, /* the new one, until all pods are served */
	BESIDE_ASKED,   /* ... and until it has the places */
	BESIDE_YIELDS,  /* the old one, while it has the places */
	BESIDE_GAVE,    /* ... and until the new one serves */
	BESIDE_DRAINS,
};

struct beside {
	enum beside_state state;
	struct event *look_event;
	uint64_t until_ms;       /* the old one's side: UINT64_MAX: it is over */
	struct strbuf notes;     /* likewise: of the node's lock, before the other one signed it */
	uint64_t began_ms;       /* likewise: to drain */
	int channel;             /* likewise: to the new one, which is the caller's */
	uint32_t pod_count;      /* that the old one serves, as was said last */
};

static int beside_new(struct worker *worker, enum beside_state state, event_callback_fn on_look)
{
	struct beside *beside = calloc(1, sizeof(*beside));

	if (!beside)
		return -ENOMEM;
	worker->beside = beside;
	beside->state = state;
	beside->notes = (struct strbuf)STRBUF_INIT;
	beside->look_event = event_new(worker->base, -1, EV_PERSIST, on_look, worker);
	if (!beside->look_event || event_add(beside->look_event, &(struct timeval){ .tv_usec = LOOK_MS * 1000 })) {
		beside_free(worker);
		return -ENOMEM;
	}
	return 0;
}

void beside_free(struct worker *worker)
{
	struct beside *beside = worker->beside;

	if (!beside)
		return;
	if (beside->look_event)
		event_free(beside->look_event);
	strbuf_release(&beside->notes);
	free(beside);
	worker->beside = NULL;
}

static bool is_in(const struct worker *worker, enum beside_state state)
{
	return worker->beside && worker->beside->state == state;
}

static void give_own_lock(struct worker *worker)
{
	struct table_entry *entry = table_find(worker->table, TABLE_KEEPER, TABLE_OWN_PINS);
	int fd = entry ? entry->fd : -1;

	if (!entry)
		return;
	table_release(worker->table, entry);
	lock_give(LOCK_FOLDER, datapath_pins(worker->datapath), &fd);
}

/* One that is killed has its locks for a moment longer than its connections. */
static void sweep_for_a_while(struct worker *worker)
{
	worker->sweeps_left = SWEEPS;
	(void)datapath_sweep_left(worker->config->options->bpffs);
}

/* ---- the old one ------------------------------------------------------------------------------------------------------------------- */

static bool is_drained(struct worker *worker)
{
	struct proxy_stats proxy;

	proxy_stats(worker->proxy, &proxy);
	return worker_now_ms() - worker->beside->began_ms >= DRAIN_MIN_MS && proxy.connections == 0 && datapath_connection_count(worker->datapath) == 0;
}

/* They become fewer, since nobody comes: what the new one waits for must not be one that is gone. */
static int say_count(struct worker *worker)
{
	struct beside *beside = worker->beside;
	const struct pass_message yielded = { .kind = PASS_YIELDED, .count = pods_serving(worker), .value = worker->state->generation };
	int r = pass_send(beside->channel, &yielded);

	if (!r)
		beside->pod_count = yielded.count;
	return r;
}

static void on_look_old(evutil_socket_t fd, short what, void *arg)
{
	struct worker *worker = arg;
	struct beside *beside = worker->beside;
	bool is_over = worker_now_ms() >= beside->until_ms;

	(void)fd;
	(void)what;
	if (worker->is_stopping)
		return;
	/* What can't be said now is said at the next look, or the end of the channel is heard of. */
	if (is_in(worker, BESIDE_YIELDS) && pods_serving(worker) != beside->pod_count)
		(void)say_count(worker);
	if (!is_in(worker, BESIDE_DRAINS)) {
		if (is_over) {
			beside->until_ms = UINT64_MAX;
			succession_end_follower(worker, SERVE_MS);
		}
		return;
	}
	if (is_drained(worker))
		log_info("all that was open here has ended");
	else if (is_over)
		log_warning("the time to drain is over: %u connections are closed after the message that they carry",
			    datapath_connection_count(worker->datapath));
	else
		return;
	worker_stop(worker);
}

/* From here on nobody takes what is pinned here for what a killed weftd has left. */
static int lock_own_pins(struct worker *worker)
{
	_cleanup_close_ int fd = -1;
	struct table_entry *entry;
	pid_t holder = 0;
	int r;

	r = lock_take(LOCK_FOLDER, datapath_pins(worker->datapath), &fd, &holder);
	if (!r)
		r = lock_sign(fd, worker->state->keeper_pid);
	if (!r)
		r = lock_note(fd, NOTE_CGROUP, worker->config->own_cgroup);
	entry = r ? NULL : table_take(worker->table, fd);
	if (!r && !entry)
		r = -ENFILE;
	if (r)
		return log_err(r, "taking the lock of %s in " LOCK_FOLDER, datapath_pins(worker->datapath));
	entry->slot = TABLE_OWN_PINS;
	table_publish(entry, TABLE_KEEPER);
	(void)TAKE_FD(fd);
	step("beside: own pins locked");
	return 0;
}

int beside_yield(struct worker *worker, int channel)
{
	int r;

	if (worker->is_stopping || worker->beside)
		return -EBUSY;
	handover_finish_loading(worker);
	r = beside_new(worker, BESIDE_YIELDS, on_look_old);
	if (!r)
		r = lock_own_pins(worker);
	if (r) {
		beside_free(worker);
		return r;
	}
	log_info("a weftd of another ABI begins beside this one");
	worker->beside->until_ms = worker_now_ms() + SERVE_MS;
	datapath_set_fast_path(worker->datapath, WEFT_FAST_PATH_OFF);
	worker->beside->channel = channel;
	r = say_count(worker);
	step("beside: yields");
	return r;
}

int beside_give_places(struct worker *worker, int channel)
{
	struct pass_message places = { .kind = PASS_PLACES };
	static const enum table_kind kinds[PASS_PLACES_COUNT] = PASS_PLACE_KINDS;
	int r;

	if (!is_in(worker, BESIDE_YIELDS))
		return -EPROTO;
	for (int i = 0; i < PASS_PLACES_COUNT; i++) {
		const struct table_entry *place = table_find(worker->table, kinds[i], 0);

		if (!place)
			return -ENOENT;
		places.entries[i].fd = place->fd;
	}
	r = lock_text(places.entries[PASS_PLACE_LOCK].fd, &worker->beside->notes);
	if (r)
		return r;
	worker->beside->state = BESIDE_GAVE;
	__atomic_store_n(&worker->state->is_draining, 1, __ATOMIC_RELEASE);
	http_stop(worker);
	admin_free(&worker->admin);
	succession_listen(worker, false);
	r = pass_send(channel, &places);
	step("beside: places given");
	return r;
}

bool beside_is_yielding(const struct worker *worker)
{
	return is_in(worker, BESIDE_YIELDS) || is_in(worker, BESIDE_GAVE);
}

bool beside_is_giving(const struct worker *worker)
{
	return is_in(worker, BESIDE_GAVE);
}

static void drop_place(struct worker *worker, enum table_kind kind)
{
	struct table_entry *entry = table_find(worker->table, kind, 0);
	int fd = entry ? entry->fd : -1;

	if (!entry)
		return;
	table_release(worker->table, entry);
	close(fd);
}

int beside_drain(struct worker *worker)
{
	struct beside *beside = worker->beside;
	uint32_t seconds = worker->config->options->drain_time_s;

	if (!is_in(worker, BESIDE_GAVE))
		return -EPROTO;
	step("beside: drains");
	beside->state = BESIDE_DRAINS;
	worker->is_draining = true;
	pods_pause(worker);
	datapath_set_fast_path(worker->datapath, worker->config->options->fast_path);
	drop_place(worker, TABLE_CONTROL);
	drop_place(worker, TABLE_SUCCESSION);
	drop_place(worker, TABLE_KEEPER);
	step("beside: places left");
	beside->began_ms = worker_now_ms();
	beside->until_ms = beside->began_ms + seconds * 1000ull;
	log_info("another weftd serves; %u connections that are open here are served to their end, for at most %u s",
		 datapath_connection_count(worker->datapath), seconds);
	return 0;
}

/* What it was given is this one's again. */
static void take_places_back(struct worker *worker)
{
	const struct table_entry *lock = table_find(worker->table, TABLE_KEEPER, 0);

	if (!lock || lock_set_text(lock->fd, &worker->beside->notes))
		log_warning("what was noted in the lock's file is lost");
	if (worker_start_admin(worker))
		log_error("weftctl is not answered any more");
	if (http_start(worker))
		log_error("probes and metrics are not answered any more");
	succession_listen(worker, true);
	__atomic_store_n(&worker->state->is_draining, 0, __ATOMIC_SEQ_CST);
}

/* By a signal that the keeper left alone, since another one was about to serve. A later one reaches this worker. */
static bool is_told_meanwhile(const struct worker *worker)
{
	return __atomic_load_n(&worker->state->is_told_to_end, __ATOMIC_SEQ_CST);
}

void beside_lost(struct worker *worker)
{
	if (is_in(worker, BESIDE_DRAINS)) {
		log_warning("the weftd that replaced this one is gone");
		return;
	}
	/* Both end: what was given is nobody's else, and the keeper clears it away. */
	if (is_in(worker, BESIDE_GAVE) && worker->is_stopping)
		__atomic_store_n(&worker->state->is_draining, 0, __ATOMIC_SEQ_CST);
	if (beside_is_yielding(worker) && !worker->is_stopping) {
		log_error("the weftd that was to replace this one went away before it served: this one goes on");
		if (is_in(worker, BESIDE_GAVE))
			take_places_back(worker);
		give_own_lock(worker);
		beside_free(worker);
		datapath_set_fast_path(worker->datapath, worker->config->options->fast_path);
		pods_look_again(worker);
		if (is_told_meanwhile(worker)) {
			log_info("it was told to end meanwhile: stopping");
			worker_stop(worker);
		}
	}
	sweep_for_a_while(worker);
}

/* ---- the new one ------------------------------------------------------------------------------------------------------------------- */

/* Connections are captured by both until the old one hears of it, and so by one of them at any moment. */
static void on_look_new(evutil_socket_t fd, short what, void *arg)
{
	struct worker *worker = arg;

	(void)fd;
	(void)what;
	if (worker->is_stopping || !is_in(worker, BESIDE_SETTLES) || !pods_are_settled(worker, worker->beside->pod_count))
		return;
	worker->beside->state = BESIDE_ASKED;
	step("beside: settled");
	succession_say(worker, PASS_SETTLED);
}

void beside_hear_count(struct worker *worker, uint32_t count)
{
	if (is_in(worker, BESIDE_SETTLES))
		worker->beside->pod_count = count;
}

bool beside_is_settling(const struct worker *worker)
{
	return worker->config->is_beside && !__atomic_load_n(&worker->state->has_served, __ATOMIC_ACQUIRE);
}

static int import_places(struct worker *worker, const struct pass_message *places)
{
	static const enum table_kind kinds[PASS_PLACES_COUNT] = PASS_PLACE_KINDS;

	for (int i = 0; i < PASS_PLACES_COUNT; i++) {
		const struct table_entry place = { .kind = kinds[i], .fd = places->entries[i].fd };

		if (!table_import(worker->table, &place))
			return -ENFILE;
	}
	return 0;
}

/* Its end makes the old one go on. */
static void __attribute__((noreturn)) give_up(void)
{
	_exit(KEEPER_EXIT_FAILED);
}

void beside_take_places(struct worker *worker, const struct pass_message *places)
{
	int r;

	/* Who is about to end takes nothing: the old one goes on. */
	if (worker->is_stopping || !is_in(worker, BESIDE_ASKED))
		give_up();
	step("beside: places taken");
	r = import_places(worker, places);
	if (!r)
		r = notes_sign(places->entries[PASS_PLACE_LOCK].fd, worker->state->keeper_pid, worker->config->options, worker->config->own_cgroup);
	if (!r)
		r = http_start(worker);
	if (!r)
		r = worker_start_admin(worker);
	if (r) {
		log_err(r, "answering in the place of the weftd that runs");
		give_up();
	}
	succession_listen(worker, true);
	step("beside: answers");
	/* First: should this worker die in between, the next one says it. */
	__atomic_store_n(&worker->state->has_served, 1, __ATOMIC_RELEASE);
	step("beside: serves");
	succession_say(worker, PASS_SERVING);
	give_own_lock(worker);
	beside_free(worker);
	log_info("this weftd serves; the one before it drains");
}

void beside_former_gone(struct worker *worker)
{
	if (beside_is_settling(worker)) {
		log_error("the weftd that was to drain has ended before this one served");
		give_up();
	}
	if (!worker->is_draining)
		sweep_for_a_while(worker);
}

int beside_start(struct worker *worker)
{
	int r;

	/* A worker before this one yielded, or served, and had no time to. */
	if (!beside_is_settling(worker)) {
		give_own_lock(worker);
		return 0;
	}
	r = table_count(worker->table, TABLE_CHANNEL) ? beside_new(worker, BESIDE_SETTLES, on_look_new) : -ENOTCONN;
	if (!r)
		worker->beside->pod_count = worker->config->pods_wanted;
	return r;
}

/* ---------------------------------------------------------------------------------------------------------------------------------- */

struct another {
	const char *own;
	bool is_any;
};

static int look_for_another(void *arg, const char *path)
{
	struct another *another = arg;

	if (strcmp(path, another->own) != 0 && pins_drainer(path))
		another->is_any = true;
	return 0;
}

bool beside_has_another(const struct worker *worker)
{
	struct another another = { .own = datapath_pins(worker->datapath) };

	(void)pins_each(worker->config->options->bpffs, look_for_another, &another);
	return another.is_any;
}

struct describing {
	const char *own;
	json_t *beginning, *draining;
};

static int describe_one(void *arg, const char *path)
{
	struct describing *describing = arg;
	pid_t process = strcmp(path, describing->own) == 0 ? 0 : pins_drainer(path);
	const char *slash = strrchr(path, '/');

	if (process)
		json_array_append_new(pins_begins(path) ? describing->beginning : describing->draining,
				      json_pack("{s:i, s:s}", "process", (int)process, "abi", slash + 1 + strlen(PINS_PREFIX)));
	return 0;
}

void beside_describe(const struct worker *worker, json_t *status)
{
	struct describing describing = { datapath_pins(worker->datapath), json_array(), json_array() };

	(void)pins_each(worker->config->options->bpffs, describe_one, &describing);
	json_object_set_new(status, "beginning", describing.beginning);
	json_object_set_new(status, "draining", describing.draining);
}
