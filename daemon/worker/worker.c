/* SPDX-License-Identifier: Apache-2.0 */
#include "worker/worker.h"

#include <errno.h>
#include <event2/event.h>
#include <event2/thread.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "admin/server.h"
#include "base/cleanup.h"
#include "base/fd.h"
#include "base/log.h"
#include "base/step.h"
#include "datapath/datapath.h"
#include "pool/pool.h"
#include "proxy/proxy.h"
#include "telemetry/telemetry.h"
#include "telemetry/traffic.h"
#include "worker/internal.h"

#define LOOK_AGAIN_S 2   /* pods that can't be served, and those that changed */
#define CHECK_FILE_S 5
#define QUICK_DEATHS_MAX 5 /* then it may be what is taken over that kills: begin anew */
#define DRAIN_MS 3000    /* what is open at the end may finish within this */
#define DRAIN_LOOK_MS 20

uint64_t worker_now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

/* ---- the loop -------------------------------------------------------------------------------------------------------------------- */

static void set_date(struct worker *worker)
{
	char line[64];
	time_t now = time(NULL);
	struct tm utc;

	gmtime_r(&now, &utc);
	/* strftime() would use the locale's names of days */
	static const char *const days[] = { "Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat" };
	static const char *const months[] = { "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec" };
	snprintf(line, sizeof(line), "date: %s, %02d %s %d %02d:%02d:%02d GMT\r\n", days[utc.tm_wday], utc.tm_mday, months[utc.tm_mon],
		 utc.tm_year + 1900, utc.tm_hour, utc.tm_min, utc.tm_sec);
	datapath_set_date(worker->datapath, line);
}

static void on_second(evutil_socket_t fd, short what, void *arg)
{
	struct worker *worker = arg;

	(void)fd;
	(void)what;
	/* One writer: what replaces this one, as soon as it has all. */
	if (!__atomic_load_n(&worker->state->is_replaced, __ATOMIC_RELAXED))
		set_date(worker);
	telemetry_sample(worker->telemetry);
	worker_traffic_look(worker);
	worker->seconds++;
	limits_watch(worker);
	if (worker->is_stopping)
		return;
	if (!worker->is_draining && worker->sweeps_left && worker->sweeps_left--)
		(void)datapath_sweep_left(worker->config->options->bpffs);
	scopes_tick(worker, worker_now_ms());
	if (worker->seconds % LOOK_AGAIN_S == 0) {
		kube_look_again(worker);
		pods_look_again(worker);
	}
	if (worker->seconds % CHECK_FILE_S == 0)
		config_check_file(worker);
}

static bool is_drained(struct worker *worker)
{
	struct proxy_stats proxy;
	struct pool_stats pool;

	proxy_stats(worker->proxy, &proxy);
	pool_stats(worker->pool, &pool);
	return proxy.connections == 0 && pool.lent + pool.replying + pool.relayed == 0;
}

static void on_drain_look(evutil_socket_t fd, short what, void *arg)
{
	const struct timeval again = { .tv_usec = DRAIN_LOOK_MS * 1000 };
	struct worker *worker = arg;

	(void)fd;
	(void)what;
	/* It is to be seen who serves: if nobody, this one clears away what it gave. */
	if ((is_drained(worker) && !beside_is_giving(worker)) || worker_now_ms() >= worker->stop_deadline_ms)
		event_base_loopbreak(worker->base);
	else
		event_base_once(worker->base, -1, EV_TIMEOUT, on_drain_look, worker, &again);
}

/* New connections are left alone from here on, those that are open get a moment. */
void worker_stop(struct worker *worker)
{
	if (worker->is_stopping) {
		succession_stop(worker);
		return;
	}
	worker->is_stopping = true;
	worker->stop_deadline_ms = worker_now_ms() + DRAIN_MS;
	pods_pause(worker);
	proxy_drain(worker->proxy);
	on_drain_look(-1, 0, worker);
}

static void on_signal(evutil_socket_t fd, short what, void *arg)
{
	struct worker *worker = arg;
	struct signalfd_siginfo info;

	(void)what;
	while (read(fd, &info, sizeof(info)) == (ssize_t)sizeof(info)) {
		if (info.ssi_signo == SIGTERM)
			worker_stop(worker);
		else if (info.ssi_signo == SIGHUP && !worker->is_stopping)
			config_reload(worker, true);
	}
}

/* SIGINT stays blocked: a terminal sends it to the keeper as well, and the keeper passes it on as SIGTERM. */
static int watch_signals(struct worker *worker)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGHUP);
	worker->signal_fd = signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC);
	if (worker->signal_fd < 0)
		return -errno;
	worker->signal_event = event_new(worker->base, worker->signal_fd, EV_READ | EV_PERSIST, on_signal, worker);
	return worker->signal_event && event_add(worker->signal_event, NULL) == 0 ? 0 : -ENOMEM;
}

static int watch_time(struct worker *worker)
{
	const struct timeval second = { .tv_sec = 1 };

	worker->second_event = event_new(worker->base, -1, EV_PERSIST, on_second, worker);
	return worker->second_event && event_add(worker->second_event, &second) == 0 ? 0 : -ENOMEM;
}

/* ---- beginning ------------------------------------------------------------------------------------------------------------------- */

/* Sockets belong to the cgroup of the process that makes them: sock_ops there sees upstreams end. */
static int enter_cgroup(const char *path, uint64_t *inode)
{
	_cleanup_(strbuf_release) struct strbuf file = STRBUF_INIT;
	_cleanup_close_ int fd = -1;
	struct file_identity identity;
	bool is_made = mkdir(path, 0755) == 0;
	int r;

	if (!is_made && errno != EEXIST)
		return log_err(-errno, "making the cgroup %s", path);
	step("worker: cgroup made");
	r = cgroup2_check(path, &identity);
	if (r && is_made)
		rmdir(path);
	if (r)
		return log_err(r, "%s is not in a cgroup v2 hierarchy (--cgroup)", path);
	*inode = identity.inode;
	r = strbuf_printf(&file, "%s/cgroup.procs", path);
	if (r)
		return r;
	fd = open(file.data, O_WRONLY | O_CLOEXEC);
	if (fd < 0)
		return log_err(-errno, "opening %s", file.data);
	r = fd_write_all(fd, "0", 1);
	return r ? log_err(r, "moving weftd's worker into the cgroup %s", path) : 0;
}

/* All that there is: this one has not taken over yet. */
static bool is_another_ones(const struct worker *worker)
{
	return worker->config->replaces && !__atomic_load_n(&worker->state->has_served, __ATOMIC_RELAXED);
}

/* The keeper has loaded and pinned them. */
static bool is_loaded(const struct worker *worker)
{
	return worker->is_successor || beside_is_settling(worker);
}

static int load_datapath(struct worker *worker)
{
	const struct options *options = worker->config->options;
	const struct datapath_options datapath_options = {
		.bpffs = options->bpffs,
		.redirect_limit_bytes = options->redirect_limit_bytes,
		.fast_path = options->fast_path,
		.disabled = worker->config->disabled,
		.connections_max = options->limits.connections,
		.connections_each = worker->shares.connections,
		.message_programs_later = true,
		.adopt = is_loaded(worker),
		.replaces = is_another_ones(worker),
	};
	int r;

	/* One that died beside this one: its programs would capture for a listener of this one. Not before this one serves: the next worker of the old one
	 * has its pins, without their lock. */
	if (worker->config->is_beside && !beside_is_settling(worker))
		(void)datapath_sweep_left(options->bpffs);
	if (!is_loaded(worker)) {
		handover_forget(worker);
		r = datapath_uninstall(options->bpffs);
		if (r)
			return log_err(r, "clearing away what a former weftd left in %s", options->bpffs);
	}
	return datapath_new(&worker->datapath, &datapath_options);
}

static int start_datapath(struct worker *worker)
{
	const struct options *options = worker->config->options;
	int r;

	r = load_datapath(worker);
	if (r && worker->is_successor && !is_another_ones(worker)) {
		log_err(r, "taking over the former worker's kernel objects: beginning anew, open connections end");
		worker->is_successor = false;
		r = load_datapath(worker);
	}
	if (r == -EPERM)
		return log_err(r, "loading the kernel programs: weftd needs root or CAP_BPF, CAP_NET_ADMIN, CAP_PERFMON and CAP_SYS_ADMIN");
	if (r)
		return log_err(r, "loading the kernel programs (pins in %s)", options->bpffs);
	r = datapath_attach_worker(worker->datapath, worker->config->own_cgroup);
	if (r)
		return log_err(r, "attaching to the cgroup %s", worker->config->own_cgroup);
	set_date(worker);
	return 0;
}

int worker_start_admin(struct worker *worker)
{
	const struct table_entry *listener = table_find(worker->table, TABLE_CONTROL, 0);
	const struct admin_options options = {
		.base = worker->base,
		.listener_fd = listener ? listener->fd : -1,
		.answer = answer_request,
		.arg = worker,
	};

	return listener ? admin_new(&worker->admin, &options) : -ENOENT;
}

static int start(struct worker *worker)
{
	int r;

	r = enter_cgroup(worker->config->own_cgroup, &worker->cgroup_inode);
	if (r)
		return r;
	if (evthread_use_pthreads() < 0)
		return log_err(-ENOMEM, "preparing threads");
	worker->base = event_base_new();
	if (!worker->base)
		return log_err(-ENOMEM, "making the event loop");
	step("worker: in its cgroup");
	r = start_datapath(worker);
	if (r)
		return r;
	step("worker: datapath attached");
	r = publish_start(worker);
	if (r)
		return log_err(r, "preparing to publish");
	r = names_start(worker);
	if (r)
		return log_err(r, "preparing to ask DNS");
	r = handover_start_pool(worker);
	if (r)
		return log_err(r, "making the pool");
	r = load_start(worker);
	if (r)
		return log_err(r, "making the memory of what the proxy counts");
	r = handover_start_proxy(worker);
	if (r)
		return log_err(r, "making the proxy");
	r = telemetry_new(&worker->telemetry, datapath_upstreams(worker->datapath), WEFT_UPSTREAMS_MAX);
	if (r)
		return log_err(r, "making the telemetry");
	r = worker_traffic_start(worker);
	if (r)
		return log_err(r, "making the metrics by workload");
	r = xds_start(worker);
	if (r)
		return r;
	worker->scopes.requires_mtls = worker->config->options->require_mtls;
	r = scopes_start(worker);
	if (r)
		return log_err(r, "making the scopes");
	if (!beside_is_settling(worker)) {
		r = http_start(worker); /* it may be that it can't listen there: before it takes over from anybody */
		if (r)
			return r;
	}
	step("worker: pool and proxy made");
	unmeshed_start(worker);
	r = config_start(worker);
	if (!r)
		r = kube_start(worker);
	if (r)
		return r;
	step("worker: configuration serves");
	if (worker->is_successor) {
		handover_adopt(worker);
		config_reload(worker, false); /* it may have changed while there was no worker */
	}
	r = handover_watch(worker);
	if (r == 0)
		r = watch_signals(worker);
	if (r == 0)
		r = watch_time(worker);
	if (r == 0 && !beside_is_settling(worker))
		r = worker_start_admin(worker);
	if (r == 0)
		r = succession_start(worker);
	return r ? log_err(r, "starting the event loop") : 0;
}

/* ---- ending ---------------------------------------------------------------------------------------------------------------------- */

static void free_event(struct event **event)
{
	if (*event)
		event_free(*event);
	*event = NULL;
}

static void finish(struct worker *worker)
{
	succession_free(worker);
	http_stop(worker);
	admin_free(&worker->admin);
	free_event(&worker->ring_event);
	free_event(&worker->later_event);
	free_event(&worker->signal_event);
	free_event(&worker->second_event);
	/* The proxy ends first: relays that it gives up are the pool's to hear of. */
	proxy_free(&worker->proxy);
	load_stop(worker);
	if (worker->pool) {
		pool_close_all(worker->pool);
		pool_free(&worker->pool);
	}
	kube_stop(worker);
	pods_release(worker);
	unmeshed_stop(worker);
	config_stop(worker);
	names_stop(worker);
	publish_stop(worker);
	telemetry_free(&worker->telemetry);
	traffic_free(&worker->traffic);
	datapath_free(&worker->datapath);
	if (worker->signal_fd >= 0)
		close(worker->signal_fd);
	if (worker->base)
		event_base_free(worker->base);
}

static bool may_take_over(const struct worker_config *config, const struct keeper_state *state)
{
	return (config->replaces || __atomic_load_n(&state->has_served, __ATOMIC_RELAXED)) && state->quick_deaths < QUICK_DEATHS_MAX;
}

static void say_who_is_served(const struct worker *worker)
{
	_cleanup_(strbuf_release) struct strbuf others = STRBUF_INIT;

	(void)pods_others(worker, &others);
	log_info("weftd %s: worker %d serves %u pods%s", WEFT_VERSION, (int)getpid(), pods_serving(worker), strbuf_text(&others));
}

int worker_run(void *arg, struct keeper_state *state)
{
	const struct worker_config *config = arg;
	struct worker worker = {
		.config = config,
		.state = state,
		.table = config->table,
		.is_successor = may_take_over(config, state),
		.signal_fd = -1,
		.retire_fd = -1,
		.source = { .text = STRBUF_INIT, .refused = STRBUF_INIT, .inotify_fd = -1 },
	};
	int r;

	limits_share(&worker.shares, &config->options->limits, config->descriptors);
	r = start(&worker);
	if (r == 0) {
		step("worker: serves");
		if (!config->is_beside)
			__atomic_store_n(&state->has_served, 1, __ATOMIC_RELAXED);
		say_who_is_served(&worker);
		event_base_dispatch(worker.base);
	}
	finish(&worker);
	return r ? KEEPER_EXIT_FAILED : KEEPER_EXIT_DONE;
}
