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
#include "keeper/pass.h"
#include "proxy/proxy.h"
#include "worker/internal.h"

#define LOOK_MS 50
#define SETTLE_MS 15000  /* pods that are not served by then are not waited for */
#define SERVE_MS 120000  /* who has the places and does not serve by then is ended */
#define DRAIN_MIN_MS 1000 /* until what the listeners' queues hold is accepted */
#define OWN_PINS 1u      /* `slot` of a TABLE_KEEPER that is the lock of this weftd's own pins */

struct beside {
	struct event *look_event;
	uint64_t until_ms;
	/* the old one's side */
	bool is_yielding;
	struct strbuf notes;     /* of the node's lock, before the other one signed it */
	uint64_t began_ms;       /* to drain */
};

static int beside_new(struct worker *worker, event_callback_fn on_look)
{
	struct beside *beside = calloc(1, sizeof(*beside));

	if (!beside)
		return -ENOMEM;
	worker->beside = beside;
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

struct place_search {
	enum table_kind kind;
	uint32_t slot;
	struct table_entry *found;
};

static void look_at_place(void *arg, struct table_entry *entry)
{
	struct place_search *search = arg;

	if (entry->kind == (uint32_t)search->kind && entry->slot == search->slot)
		search->found = entry;
}

static struct table_entry *find_place(const struct worker *worker, enum table_kind kind, uint32_t slot)
{
	struct place_search search = { .kind = kind, .slot = slot };

	table_each(worker->table, look_at_place, &search);
	return search.found;
}

static void give_own_lock(struct worker *worker)
{
	struct table_entry *entry = find_place(worker, TABLE_KEEPER, OWN_PINS);
	int fd = entry ? entry->fd : -1;

	if (!entry)
		return;
	table_release(worker->table, entry);
	lock_give(LOCK_FOLDER, datapath_pins(worker->datapath), &fd);
}

/* ---- the old one ------------------------------------------------------------------------------------------------------------------- */

static bool is_drained(struct worker *worker)
{
	struct proxy_stats proxy;

	proxy_stats(worker->proxy, &proxy);
	return worker_now_ms() - worker->beside->began_ms >= DRAIN_MIN_MS && proxy.connections == 0 && datapath_connection_count(worker->datapath) == 0;
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
	if (!worker->is_draining) {
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
	entry->slot = OWN_PINS;
	table_publish(entry, TABLE_KEEPER);
	(void)TAKE_FD(fd);
	step("beside: own pins locked");
	return 0;
}

static int give_places(struct worker *worker, int channel)
{
	struct pass_message places = { .kind = PASS_PLACES, .value = worker->state->generation };
	const struct table_entry *given[PASS_PLACES_COUNT] = {
		[PASS_PLACE_LOCK] = find_place(worker, TABLE_KEEPER, 0),
		[PASS_PLACE_CONTROL] = find_place(worker, TABLE_CONTROL, 0),
		[PASS_PLACE_SUCCESSION] = find_place(worker, TABLE_SUCCESSION, 0),
	};
	int r = 0;

	for (int i = 0; i < PASS_PLACES_COUNT; i++) {
		if (!given[i])
			return -ENOENT;
		places.entries[i].fd = given[i]->fd;
	}
	r = lock_text(given[PASS_PLACE_LOCK]->fd, &worker->beside->notes);
	return r ? r : pass_send(channel, &places);
}

int beside_yield(struct worker *worker, int channel)
{
	int r;

	if (worker->is_stopping || worker->is_draining || worker->beside)
		return -EBUSY;
	handover_finish_loading(worker);
	r = beside_new(worker, on_look_old);
	if (!r)
		r = lock_own_pins(worker);
	if (r) {
		beside_free(worker);
		return r;
	}
	log_info("a weftd of another ABI begins beside this one");
	worker->beside->is_yielding = true;
	worker->beside->until_ms = worker_now_ms() + SERVE_MS;
	__atomic_store_n(&worker->state->is_draining, 1, __ATOMIC_RELEASE);
	datapath_set_fast_path(worker->datapath, WEFT_FAST_PATH_OFF);
	http_stop(worker);
	r = give_places(worker, channel);
	step("beside: places given");
	return r;
}

bool beside_is_yielding(const struct worker *worker)
{
	return worker->beside && worker->beside->is_yielding && !worker->is_draining;
}

static void drop_place(struct worker *worker, enum table_kind kind)
{
	struct table_entry *entry = find_place(worker, kind, 0);
	int fd = entry ? entry->fd : -1;

	if (!entry)
		return;
	table_release(worker->table, entry);
	close(fd);
}

void beside_drain(struct worker *worker)
{
	struct beside *beside = worker->beside;
	uint32_t seconds = worker->config->options->drain_time_s;

	step("beside: drains");
	worker->is_draining = true;
	pods_pause(worker);
	datapath_set_fast_path(worker->datapath, worker->config->options->fast_path);
	admin_free(&worker->admin);
	drop_place(worker, TABLE_CONTROL);
	drop_place(worker, TABLE_SUCCESSION);
	drop_place(worker, TABLE_KEEPER);
	step("beside: places left");
	beside->began_ms = worker_now_ms();
	beside->until_ms = beside->began_ms + seconds * 1000ull;
	log_info("another weftd serves; %u connections that are open here are served to their end, for at most %u s",
		 datapath_connection_count(worker->datapath), seconds);
}

void beside_lost(struct worker *worker)
{
	const struct table_entry *lock = find_place(worker, TABLE_KEEPER, 0);

	if (worker->is_draining) {
		log_warning("the weftd that replaced this one is gone");
		return;
	}
	if (!worker->beside || !worker->beside->is_yielding || worker->is_stopping) {
		(void)datapath_sweep_left(worker->config->options->bpffs);
		return;
	}
	log_error("the weftd that was to replace this one went away before it served: this one goes on");
	if (!lock || lock_set_text(lock->fd, &worker->beside->notes))
		log_warning("what was noted in the lock's file is lost");
	give_own_lock(worker);
	beside_free(worker);
	__atomic_store_n(&worker->state->is_draining, 0, __ATOMIC_RELEASE);
	datapath_set_fast_path(worker->datapath, worker->config->options->fast_path);
	if (http_start(worker))
		log_error("probes and metrics are not answered any more");
	(void)datapath_sweep_left(worker->config->options->bpffs);
}

/* ---- the new one ------------------------------------------------------------------------------------------------------------------- */

/* Connections are captured by both until the old one hears of it, and so by one of them at any moment. */
static void on_look_new(evutil_socket_t fd, short what, void *arg)
{
	struct worker *worker = arg;

	(void)fd;
	(void)what;
	if (worker->is_stopping || (!pods_are_settled(worker) && worker_now_ms() < worker->beside->until_ms))
		return;
	beside_free(worker);
	step("beside: serves");
	succession_tell(worker);
	give_own_lock(worker);
}

static void find_channel(void *arg, struct table_entry *entry)
{
	*(bool *)arg |= entry->kind == TABLE_CHANNEL;
}

int beside_start(struct worker *worker)
{
	bool has_channel = false;
	int r;

	table_each(worker->table, find_channel, &has_channel);
	if (!worker->config->is_beside || !has_channel)
		return 0;
	r = beside_new(worker, on_look_new);
	if (!r)
		worker->beside->until_ms = worker_now_ms() + SETTLE_MS;
	return r;
}

/* ---------------------------------------------------------------------------------------------------------------------------------- */

struct describing {
	const char *own;
	json_t *all;
};

static int describe_one(void *arg, const char *path)
{
	struct describing *describing = arg;
	pid_t process = strcmp(path, describing->own) == 0 ? 0 : pins_drainer(path);
	const char *slash = strrchr(path, '/');

	if (process)
		json_array_append_new(describing->all, json_pack("{s:i, s:s}", "process", (int)process, "abi", slash + 1 + strlen(PINS_PREFIX)));
	return 0;
}

json_t *beside_describe(const struct worker *worker)
{
	struct describing describing = { datapath_pins(worker->datapath), json_array() };

	(void)pins_each(worker->config->options->bpffs, describe_one, &describing);
	return describing.all;
}
