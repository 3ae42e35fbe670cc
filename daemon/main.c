/* SPDX-License-Identifier: Apache-2.0 */
/* weftd: from the command line to the keeper. What runs is the worker (worker/worker.h). */
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "abi_layout.h"
#include "admin/http.h"
#include "admin/server.h"
#include "base/cleanup.h"
#include "base/fd.h"
#include "base/leftovers.h"
#include "base/lock.h"
#include "base/log.h"
#include "base/pins.h"
#include "base/step.h"
#include "base/strbuf.h"
#include "compile/compile.h"
#include "datapath/datapath.h"
#include "keeper/keeper.h"
#include "keeper/notes.h"
#include "keeper/options.h"
#include "keeper/pass.h"
#include "keeper/preflight.h"
#include "keeper/succeed.h"
#include "keeper/table.h"
#include "mesh/mesh.h"
#include "worker/replay.h"
#include "worker/worker.h"
#include "xds/address.h"

/* Anchors, upstreams of kernel and proxy, two a pod and a few of our own: room for all of them at their limits. */
#define TABLE_CAPACITY (WEFT_CONNECTIONS_MAX + WEFT_UPSTREAMS_MAX + 2 * WEFT_PODS_MAX + 1024)
#define SUCCESSION_BACKLOG 4
#define DESCRIPTORS_WANTED (4u * WEFT_CONNECTIONS_MAX)

static int check(const struct options *options)
{
	const char *path = options->config;
	_cleanup_(mesh_report_release) struct mesh_report report = MESH_REPORT_INIT;
	_cleanup_(mesh_free) struct mesh *mesh = NULL;
	int r;

	r = mesh_load_file_as(path, options->strict, &mesh, &report);
	mesh_report_print(&report, stdout);
	if (r) {
		if (!report.count)
			printf("%s: %s\n", path, strerror(-r));
		return EXIT_FAILURE;
	}
	if (worker_config_is_empty(mesh)) {
		printf("%s: error: it says nothing: neither pods nor resources\n", path);
		return EXIT_FAILURE;
	}
	return compile_check_report(stdout, mesh) ? EXIT_FAILURE : EXIT_SUCCESS;
}

/* What is kept at a path must not lie among the pins: a BPF file system holds no `things`, and one that is mounted hides those that are there. */
static int check_place(const char *option, const char *path, const char *things, const char *usual, const struct options *options)
{
	if (preflight_is_inside(path, pins_place(options->bpffs))) {
		log_error("%s %s lies where --bpffs %s has a BPF file system, which holds no %s and hides them: give %s a path outside of it, as %s", option,
			  path, options->bpffs, things, option, usual);
		return -EINVAL;
	}
	if (preflight_is_on_bpffs(path)) {
		log_error("%s %s lies in a BPF file system, which holds no %s: give it a path outside, as %s (the place for --bpffs alone, here %s)", option, path,
			  things, usual, options->bpffs);
		return -EINVAL;
	}
	return 0;
}

static int check_places(const struct options *options)
{
	int r = check_place("--control", options->control, "sockets", OPTIONS_CONTROL, options);

	if (r || !options->xds || !*options->xds_cache)
		return r;
	return check_place("--xds-cache", options->xds_cache, "files", OPTIONS_XDS_CACHE, options);
}

/* What is wrong with the machine, in words that say what to do. */
static int preflight(const struct options *options, struct strbuf *cgroup2, struct strbuf *own_cgroup)
{
	_cleanup_(strbuf_release) struct strbuf missing = STRBUF_INIT;
	uint64_t effective;
	int r;

	r = preflight_capabilities(&effective);
	if (r)
		return log_err(r, "reading the capabilities in /proc/self/status");
	r = preflight_missing(effective, &missing);
	if (r)
		return r;
	if (missing.size) {
		log_error("weftd needs root; this process lacks %s", missing.data);
		return -EPERM;
	}
	r = preflight_cgroup2("/proc/mounts", cgroup2);
	if (r == -ENOENT) {
		log_error("no cgroup v2 hierarchy is mounted, and weft attaches to cgroups of that kind; mount one: "
			  "mkdir -p /sys/fs/cgroup/unified && mount -t cgroup2 none /sys/fs/cgroup/unified");
		return r;
	}
	if (r)
		return log_err(r, "looking for cgroup v2 in /proc/mounts");
	r = preflight_worker_cgroup(cgroup2->data, "/proc/self/cgroup", options->cgroup, own_cgroup);
	if (r)
		return log_err(r, "reading /proc/self/cgroup");
	return 0;
}

/* What a killed one left goes, and what this one makes is noted before it is made. */
static int note_what_is_made(const struct options *options, const char *own_cgroup, int lock_fd)
{
	leftovers_clear(lock_fd);
	step("start: leftovers cleared");
	return notes_sign(lock_fd, getpid(), options, own_cgroup);
}

static int take_lock(const struct options *options, const char *own_cgroup, int *fd)
{
	pid_t holder = 0;
	int r;

	r = lock_take(LOCK_FOLDER, options->bpffs, fd, &holder);
	if (r == -EBUSY) {
		log_error("another weftd (process %d) serves this node through %s: stop it first, or give this one another --bpffs and --control",
			  (int)holder, options->bpffs);
		return r;
	}
	if (r)
		return log_err(r, "taking the lock in %s", LOCK_FOLDER);
	step("start: lock taken");
	r = note_what_is_made(options, own_cgroup, *fd);
	return r ? log_err(r, "writing the lock's file in %s", LOCK_FOLDER) : 0;
}

static int listen_control(const struct options *options, int *fd)
{
	int r;

	r = admin_listen(options->control, fd);
	if (r == -EADDRINUSE) {
		log_error("another weftd answers at %s: stop it first, or give this one another --control", options->control);
		return r;
	}
	if (r == -EEXIST) {
		log_error("%s is no socket, and not weft's to remove: give this one another --control", options->control);
		return r;
	}
	return r ? log_err(r, "making the control socket %s", options->control) : 0;
}

static int listen_succession(const struct options *options, int *fd)
{
	char path[PATH_MAX];
	int r;

	notes_succession_path(options, path);
	r = socket_listen(path, SOCK_SEQPACKET, SUCCESSION_BACKLOG, fd);
	return r ? log_err(r, "making the socket %s", path) : 0;
}

static int name_own_fd(struct table *table, int fd, enum table_kind kind)
{
	struct table_entry *entry = table_take(table, fd);

	if (!entry)
		return -ENFILE;
	table_publish(entry, kind);
	return 0;
}

static uint32_t raise_limits(void)
{
	uint32_t descriptors = preflight_descriptors(DESCRIPTORS_WANTED);

	if (descriptors < DESCRIPTORS_WANTED)
		log_warning("only %u descriptors are allowed (of %u that as many connections as weft can hold would need): raise the limit of "
			    "open files", descriptors, DESCRIPTORS_WANTED);
	return descriptors;
}

/* Of the sockets only those that this one made: the other may be another weftd's, or no socket at all. */
static void clear_away(const struct options *options, const char *own_cgroup, bool has_control, bool has_succession)
{
	int r = datapath_uninstall(options->bpffs);
	char succession[PATH_MAX];

	if (r)
		log_err(r, "detaching the kernel programs: the next weftd does it");
	step("end: pins removed");
	notes_succession_path(options, succession);
	if (has_control)
		unlink(options->control);
	if (has_succession)
		unlink(succession);
	step("end: control socket removed");
	r = leftovers_remove_cgroup(own_cgroup);
	if (r)
		log_warn(r, "removing the cgroup %s", own_cgroup);
	step("end: cgroup removed");
}

static int parse_disabled(const struct options *options, uint32_t *bits)
{
	_cleanup_(strbuf_release) struct strbuf complaint = STRBUF_INIT;
	int r;

	*bits = 0;
	r = options->disable ? datapath_features_parse(options->disable, bits, &complaint) : 0;
	if (r)
		fprintf(stderr, "weftd: --disable %s: %s\n", options->disable, strbuf_text(&complaint));
	return r;
}

/* What a weftd begins with: its own, or another one's. */
struct beginning {
	const char *cgroup2, *own_cgroup;
	uint32_t descriptors;
	struct table *table;
	bool is_replacement;
	bool is_beside;      /* a replacement of one that has another ABI, and drains */
	uint64_t generation; /* of the other one's configuration */
	uint32_t pod_count;  /* of one that drains: pods that it serves */
};

static int serve(const struct options *options, uint32_t disabled, const struct beginning *with)
{
	struct worker_config config = {
		.options = options,
		.disabled = disabled,
		.table = with->table,
		.cgroup2 = with->cgroup2,
		.own_cgroup = with->own_cgroup,
		.descriptors = with->descriptors,
		.replaces = with->is_replacement && !with->is_beside,
		.is_beside = with->is_beside,
		.pods_wanted = with->pod_count,
	};
	const struct keeper_job job = { .name = "weft-worker", .work = worker_run, .arg = &config, .is_replacement = with->is_replacement,
		.generation = with->generation, .stays_when_replaced = options->stays_when_replaced };
	int r;

	r = keeper_block_signals();
	if (r) {
		log_err(r, "preparing to make the worker");
		return EXIT_FAILURE;
	}
	return keeper_run(with->table, &job);
}

static int serve_anew(const struct options *options, uint32_t disabled, const struct beginning *with, int lock_fd, int control_fd, int succession_fd)
{
	int r;

	r = name_own_fd(with->table, lock_fd, TABLE_KEEPER);
	if (r == 0)
		r = name_own_fd(with->table, control_fd, TABLE_CONTROL);
	if (r == 0)
		r = name_own_fd(with->table, succession_fd, TABLE_SUCCESSION);
	if (r) {
		log_err(r, "preparing to make the worker");
		return EXIT_FAILURE;
	}
	return serve(options, disabled, with);
}

/* All is another one's but the cgroup, if that one has a cgroup of its own: it stays if anybody is in it. */
static int was_replaced(const struct beginning *with)
{
	leftovers_remove_cgroup(with->own_cgroup);
	return EXIT_SUCCESS;
}

static int is_drained_still(pid_t drainer)
{
	log_error("a weftd of this one's ABI (process %d) was replaced and drains still: it ends within its --drain-time, try again then", (int)drainer);
	return -EBUSY;
}

static int fd_of(const struct beginning *with, uint32_t slot)
{
	const struct table_entry *entry = table_find(with->table, TABLE_KEEPER, slot);

	return entry ? entry->fd : -1;
}

/* They have a lock of their own while two weftds run. */
static int remove_own_pins(const struct options *options, const struct beginning *with)
{
	int lock_fd = fd_of(with, TABLE_OWN_PINS);
	char path[PATH_MAX];

	if (lock_fd < 0)
		return 0;
	if (pins_path(options->bpffs, PASS_ABI, path) || pins_remove_locked(path, &lock_fd))
		return -EIO;
	/* The other one may have ended before: then nobody is left to do it. */
	pins_remove_folder(options->bpffs);
	return 0;
}

/* The pins are its own still; all else is that one's which serves. */
static int has_drained(const struct options *options, const struct beginning *with)
{
	return remove_own_pins(options, with) ? EXIT_FAILURE : was_replaced(with);
}

/* How a weftd ended that had taken over, or needed not to. */
static int after(int status, const struct options *options, const struct beginning *with)
{
	int lock_fd = fd_of(with, 0);

	if (status == KEEPER_EXIT_REPLACED)
		return was_replaced(with);
	if (status == KEEPER_EXIT_DRAINED || status == KEEPER_EXIT_DRAINED_STAYS) {
		int r = has_drained(options, with);

		if (status == KEEPER_EXIT_DRAINED_STAYS)
			keeper_wait_for_end();
		return r;
	}
	/* Who does not know it yet would go on with what is cleared away now. */
	succeed_say_serving(with->table);
	(void)remove_own_pins(options, with);
	clear_away(options, with->own_cgroup, true, true);
	if (lock_fd >= 0)
		lock_give(LOCK_FOLDER, options->bpffs, &lock_fd);
	return status;
}

/* The one that replaced it has ended, too. */
static int check_undrained(const struct options *options)
{
	pid_t drainer = 0;
	char path[PATH_MAX];

	if (pins_path(options->bpffs, PASS_ABI, path) == 0)
		drainer = pins_drainer(path);
	return drainer ? is_drained_still(drainer) : 0;
}

static int run_anew(const struct options *options, uint32_t disabled, struct beginning *with)
{
	_cleanup_close_ int control_fd = -1, succession_fd = -1;
	int lock_fd = -1, r;

	if (check_undrained(options) || take_lock(options, with->own_cgroup, &lock_fd))
		return EXIT_FAILURE;
	step_keeper();
	if (listen_control(options, &control_fd) == 0 && listen_succession(options, &succession_fd) == 0) {
		step("start: control socket made");
		r = serve_anew(options, disabled, with, lock_fd, control_fd, succession_fd);
		return after(r, options, with);
	}
	clear_away(options, with->own_cgroup, control_fd >= 0, succession_fd >= 0);
	lock_give(LOCK_FOLDER, options->bpffs, &lock_fd);
	return EXIT_FAILURE;
}

/* ---- replacement ----------------------------------------------------------------------------------------------------------------- */

/* What could be refused is refused while the other one still serves. NULL: istiod and Kubernetes say everything. */
static int try_configuration(const struct options *options)
{
	const char *path = options->config;
	_cleanup_(mesh_report_release) struct mesh_report report = MESH_REPORT_INIT;
	_cleanup_(mesh_free) struct mesh *mesh = NULL;
	int r;

	if (!path)
		return 0;
	r = mesh_load_file_as(path, options->strict, &mesh, &report);
	if (!r && (mesh->refused_count || worker_config_is_empty(mesh)))
		r = -EINVAL;
	if (!r)
		return 0;
	mesh_report_print(&report, stderr);
	return log_err(r, "%s can't be served: the weftd that runs goes on", path);
}

/* In a process of its own: nothing of it stays in the keeper's memory. */
static int load_programs(const struct options *options, uint32_t disabled, int (*load)(const struct datapath_options *options))
{
	const struct datapath_options datapath = { .bpffs = options->bpffs, .fast_path = options->fast_path, .disabled = disabled,
		.connections_max = options->limits.connections };
	pid_t pid = fork();
	int status;

	if (pid < 0)
		return log_err(-errno, "making a process that loads the programs");
	if (pid == 0)
		_exit(load(&datapath) ? EXIT_FAILURE : EXIT_SUCCESS);
	if (waitpid(pid, &status, 0) < 0)
		return -errno;
	return WIFEXITED(status) && WEXITSTATUS(status) == 0 ? 0 : -EINVAL;
}

/* The other one goes on when this process has ended. */
static int did_not_take_over(const struct options *options, const struct beginning *with, const struct strbuf *former_notes)
{
	int r = lock_set_text(fd_of(with, 0), former_notes);

	if (r)
		log_warn(r, "writing what the weftd that runs had noted");
	log_error("this weftd could not take over: the one that runs goes on");
	datapath_forget_loaded(options->bpffs);
	leftovers_remove_cgroup(with->own_cgroup);
	return EXIT_FAILURE;
}

/* ---- beside one of another ABI ----------------------------------------------------------------------------------------------------- */

/* Until it serves its pins could be taken for what a killed one has left. */
static int lock_own_pins(const struct options *options, const struct beginning *with)
{
	struct table_entry *entry;
	char path[PATH_MAX];
	pid_t holder = 0;
	int fd = -1, r;

	r = pins_path(options->bpffs, PASS_ABI, path);
	if (!r)
		r = pins_make(options->bpffs, PASS_ABI); /* a lock has a folder that tells of it */
	if (!r)
		r = lock_take(LOCK_FOLDER, path, &fd, &holder);
	if (r == -EBUSY)
		return is_drained_still(holder);
	if (!r)
		r = lock_sign(fd, getpid());
	if (!r)
		r = lock_note(fd, PINS_NOTE_BEGINS, "beside");
	entry = r ? NULL : table_take(with->table, fd);
	if (!entry)
		return log_err(r ? r : -ENFILE, "taking the lock of %s in " LOCK_FOLDER, path);
	entry->slot = TABLE_OWN_PINS;
	table_publish(entry, TABLE_KEEPER);
	return 0;
}

static int did_not_serve_beside(const struct options *options, const struct beginning *with)
{
	has_drained(options, with);
	log_error("this weftd could not take over: the one that runs goes on");
	return EXIT_FAILURE;
}

static int run_beside(const struct options *options, uint32_t disabled, struct beginning *with, int channel)
{
	struct succeed_yielded yielded;
	int r;

	if (lock_own_pins(options, with))
		return EXIT_FAILURE;
	step_keeper();
	r = load_programs(options, disabled, datapath_load_beside);
	step("beside: programs loaded");
	if (!r)
		r = succeed_beside(channel, with->table, &yielded);
	if (r)
		return did_not_serve_beside(options, with);
	with->is_replacement = with->is_beside = true;
	with->generation = yielded.generation;
	with->pod_count = yielded.pod_count;
	r = serve(options, disabled, with);
	return r == KEEPER_EXIT_UNTAKEN ? did_not_serve_beside(options, with) : after(r, options, with);
}

/* ---- replacement of one of the same ABI -------------------------------------------------------------------------------------------- */

/* With what another weftd has handed over. */
static int run_replacement(const struct options *options, uint32_t disabled, struct beginning *with, int channel)
{
	_cleanup_(strbuf_release) struct strbuf former_notes = STRBUF_INIT;
	bool is_beside = false;
	int r;

	r = try_configuration(options);
	if (!r)
		r = succeed_greet(channel, options->bpffs, &is_beside);
	if (!r && is_beside)
		return run_beside(options, disabled, with, channel);
	if (!r)
		r = load_programs(options, disabled, datapath_load_next);
	if (r)
		return EXIT_FAILURE;
	step_keeper();
	step("replace: ready");
	r = succeed_take(channel, with->table, &with->generation);
	if (!r)
		r = lock_text(fd_of(with, 0), &former_notes);
	if (!r)
		r = notes_sign(fd_of(with, 0), getpid(), options, with->own_cgroup);
	if (r) {
		datapath_forget_loaded(options->bpffs);
		return EXIT_FAILURE;
	}
	with->is_replacement = true;
	r = serve(options, disabled, with);
	return r == KEEPER_EXIT_UNTAKEN ? did_not_take_over(options, with, &former_notes) : after(r, options, with);
}

static int run(const struct options *options, uint32_t disabled)
{
	_cleanup_(strbuf_release) struct strbuf cgroup2 = STRBUF_INIT;
	_cleanup_(strbuf_release) struct strbuf own_cgroup = STRBUF_INIT;
	_cleanup_(table_free) struct table *table = NULL;
	struct beginning with = { 0 };
	char path[PATH_MAX];
	int channel = -1, r;

	r = log_share_counts();
	if (r)
		log_warn(r, "what the log lacks is counted by the worker alone, and anew by the next one");
	r = fd_write_without_waiting(STDERR_FILENO);
	if (r)
		log_warn(r, "whoever reads the log can make weftd wait, since standard error can't be opened anew");
	if (check_places(options) || preflight(options, &cgroup2, &own_cgroup))
		return EXIT_FAILURE;
	with.descriptors = raise_limits(); /* another one may hand over more than may be open by default */
	with.cgroup2 = cgroup2.data;
	with.own_cgroup = own_cgroup.data;
	r = table_new(&table, TABLE_CAPACITY);
	if (r) {
		log_err(r, "making the table of descriptors");
		return EXIT_FAILURE;
	}
	with.table = table;
	notes_succession_path(options, path);
	r = options->replace ? pass_connect(path, &channel) : -ENOENT;
	if (r == 0)
		return run_replacement(options, disabled, &with, channel);
	if (r != -ENOENT && r != -ECONNREFUSED) {
		log_err(r, "asking the weftd at %s to hand over", path);
		return EXIT_FAILURE;
	}
	if (options->replace)
		log_info("nobody answers at %s: there is no weftd to replace", path);
	return run_anew(options, disabled, &with);
}

static int check_address(const struct options *options)
{
	struct xds_address address;
	char problem[256];
	int r = options->xds ? xds_address_parse(options->xds, &address, problem, sizeof(problem)) : 0;

	if (r)
		fprintf(stderr, "weftd: --xds %s: %s\n", options->xds, problem);
	return r;
}

/* Nor of those that it listens at. Whoever reaches the administration may change what is logged: nobody but this machine does. */
static int check_listening(const struct options *options)
{
	const struct {
		const char *option, *address;
		bool is_for_loopback;
	} places[] = {
		{ "health-address", options->health_address, false },
		{ "metrics-address", options->metrics_address, false },
		{ "admin-address", options->admin_address, true },
	};

	for (size_t i = 0; i < ARRAY_SIZE(places); i++) {
		bool is_loopback = false, is_good = !places[i].address || http_address_is_good(places[i].address, &is_loopback);

		if (is_good && (is_loopback || !places[i].is_for_loopback || !places[i].address))
			continue;
		fprintf(stderr, "weftd: --%s %s: %s\n", places[i].option, places[i].address,
			is_good ? "an address of the loopback interface is expected" : "an IP address and a port are expected, as 0.0.0.0:15021 or [::1]:15000");
		return -EINVAL;
	}
	return 0;
}

int main(int argc, char **argv)
{
	enum options_action action;
	_cleanup_(options_release) struct options options = { 0 };
	uint32_t disabled;

	if (options_parse(argc, argv, stderr, &options, &action) || parse_disabled(&options, &disabled) || check_address(&options) || check_listening(&options))
		return 2;
	log_set_level(options.log_level);
	log_set_format(options.log_format);
	log_set_rate(options.log_rate);
	switch (action) {
	case OPTIONS_HELP:
		options_help(stdout);
		return EXIT_SUCCESS;
	case OPTIONS_VERSION:
		printf("weftd %s\n", WEFT_VERSION);
		return EXIT_SUCCESS;
	case OPTIONS_CHECK:
		return check(&options);
	case OPTIONS_REPLAY:
		return replay_folder(stdout, options.config) ? EXIT_FAILURE : EXIT_SUCCESS;
	case OPTIONS_RUN:
		break;
	}
	return run(&options, disabled);
}
