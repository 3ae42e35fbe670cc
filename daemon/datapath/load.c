// SPDX-License-Identifier: Apache-2.0
/* Loading: the object with its maps pinned by name, the program arrays filled, the sockets' programs attached to their maps. */
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/log.h"
#include "base/pins.h"
#include "base/step.h"
#include "datapath/internal.h"
#include "weft.skel.h"

#define LOG_LINES_MAX 40u

const char *const datapath_map_names[MAP_COUNT] = {
	[MAP_CONTROL] = "control",
	[MAP_SCOPES] = "scopes",
	[MAP_IMAGES] = "images",
	[MAP_PODS] = "pods",
	[MAP_POD_USAGE] = "pod_usage",
	[MAP_EXCEPTIONS] = "exceptions",
	[MAP_SOCKETS] = "sockets",
	[MAP_CONNECTIONS] = "connections",
	[MAP_CONNECTION_PORTS] = "connection_ports",
	[MAP_UPSTREAMS] = "upstreams",
	[MAP_POOLS] = "pools",
	[MAP_POOL_INDEX] = "pool_index",
	[MAP_UPSTREAM_SOCKETS] = "upstream_sockets",
	[MAP_CLUSTER_STATE] = "cluster_state",
	[MAP_ENDPOINT_STATE] = "endpoint_state",
	[MAP_EVENTS] = "events",
	[MAP_COUNTERS] = "counters",
	[MAP_RESPONSE_CHANGES] = "response_changes",
	[MAP_SLOT_TRAFFIC] = "slot_traffic",
	[MAP_TRAFFIC] = "traffic",
};

const char *const datapath_program_names[PROGRAM_COUNT] = {
	[PROGRAM_SOCKOPS] = "stub_sockops",
	[PROGRAM_CONNECT4] = "stub_connect4",
	[PROGRAM_GETPEERNAME4] = "stub_getpeername4",
	[PROGRAM_GETSOCKNAME4] = "stub_getsockname4",
	[PROGRAM_CONNECT6] = "stub_connect6",
	[PROGRAM_GETPEERNAME6] = "stub_getpeername6",
	[PROGRAM_GETSOCKNAME6] = "stub_getsockname6",
	[PROGRAM_RELEASE] = "stub_release",
	[PROGRAM_COMMAND] = "weft_connection_command",
};

static void log_line(const char *from, const char *end)
{
	if (end > from)
		log_debug("libbpf: %.*s", (int)(end - from), from);
}

int datapath_libbpf_log(enum libbpf_print_level level, const char *fmt, va_list args)
{
	_cleanup_free_ char *text = NULL;
	const char *at, *end;
	size_t lines = 0;

	if (level == LIBBPF_DEBUG || vasprintf(&text, fmt, args) < 0)
		return 0;
	end = text + strlen(text);
	for (at = end; at > text && lines < LOG_LINES_MAX; at--)
		lines += at[-1] == '\n';
	if (at > text) {
		log_line(text, text + strcspn(text, "\n"));
		at = strchr(at, '\n') + 1;
	}
	/* libbpf warns about what a probe or a missing pin is expected to do; its -errno comes back to the caller. */
	for (; at < end; at += strcspn(at, "\n") + 1) {
		log_line(at, at + strcspn(at, "\n"));
		if (!strchr(at, '\n'))
			break;
	}
	return 0;
}

const struct datapath_slot datapath_slots[SLOT_COUNT] = {
	{ "weft_request", "msg_programs", 0 },
	{ "weft_reply", "msg_programs", 1 },
	{ "weft_response", "skb_programs", 0 },
	{ "weft_sockops", "sockops_programs", 0 },
	{ "weft_connect4", "connect4_programs", 0 },
	{ "weft_getpeername4", "getpeername4_programs", 0 },
	{ "weft_getsockname4", "getsockname4_programs", 0 },
	{ "weft_connect6", "connect6_programs", 0 },
	{ "weft_getpeername6", "getpeername6_programs", 0 },
	{ "weft_getsockname6", "getsockname6_programs", 0 },
	{ "weft_release", "release_programs", 0 },
	{ "weft_connection_command", NULL, 0 },
};

/* One that was not loaded stays out: its stub passes everything on. */
static int program_arrays_fill(struct weft *skeleton)
{
	for (int i = 0; i < SLOT_COUNT; i++) {
		const struct datapath_slot *slot = &datapath_slots[i];
		const struct bpf_program *program = bpf_object__find_program_by_name(skeleton->obj, slot->program);
		int array, fd;

		if (!slot->array || !bpf_program__autoload(program))
			continue;
		array = bpf_object__find_map_fd_by_name(skeleton->obj, slot->array);
		fd = bpf_program__fd(program);
		if (bpf_map_update_elem(array, &slot->key, &fd, BPF_ANY))
			return log_err(-errno, "putting %s into %s", slot->program, slot->array);
	}
	return 0;
}

static int attach(const struct bpf_program *program, const struct bpf_map *map, enum bpf_attach_type type)
{
	if (bpf_prog_attach(bpf_program__fd(program), bpf_map__fd(map), type, 0))
		return log_err(-errno, "attaching %s to %s", bpf_program__name(program), bpf_map__name(map));
	return 0;
}

/* Before any socket is in: a socket keeps for life what its map has when it enters. */
static int socket_programs_attach(struct datapath *dp, struct weft *skeleton)
{
	bool mends_fionread = dp->features[FEATURE_FIONREAD_MEND].is_on;
	int r;

	r = attach(skeleton->progs.stub_request, skeleton->maps.client_sockets, BPF_SK_MSG_VERDICT);
	if (!r)
		r = attach(skeleton->progs.stub_reply, skeleton->maps.server_sockets, BPF_SK_MSG_VERDICT);
	if (!r && dp->features[FEATURE_SK_SKB].is_on)
		r = attach(skeleton->progs.stub_response, skeleton->maps.upstream_sockets, BPF_SK_SKB_VERDICT);
	if (!r && mends_fionread)
		r = attach(skeleton->progs.stub_fionread, skeleton->maps.client_sockets, BPF_SK_SKB_VERDICT);
	if (!r && mends_fionread)
		r = attach(skeleton->progs.stub_fionread, skeleton->maps.server_sockets, BPF_SK_SKB_VERDICT);
	return r;
}

static int programs_pin(struct datapath *dp, struct weft *skeleton)
{
	char path[PATH_MAX];

	snprintf(path, sizeof(path), "%s/programs", dp->bpffs);
	if (mkdir(path, 0700) && errno != EEXIST)
		return log_err(-errno, "making %s", path);
	snprintf(path, sizeof(path), "%s/links", dp->bpffs);
	if (mkdir(path, 0700) && errno != EEXIST)
		return log_err(-errno, "making %s", path);
	for (int i = 0; i < PROGRAM_COUNT; i++) {
		struct bpf_program *program = bpf_object__find_program_by_name(skeleton->obj, datapath_program_names[i]);

		if (program && !bpf_program__autoload(program))
			continue;
		snprintf(path, sizeof(path), "%s/programs/%s", dp->bpffs, datapath_program_names[i]);
		if (!program || bpf_obj_pin(bpf_program__fd(program), path))
			return log_err(-errno, "pinning %s", path);
		step("load: a program pinned");
	}
	return 0;
}

static void settings_write(const struct datapath *dp, struct weft *skeleton, const struct datapath_options *options)
{
	struct weft_control settings = {
		.fast_path = features_fast_path(dp, options->fast_path),
		.redirect_limit_bytes = options->redirect_limit_bytes ? options->redirect_limit_bytes : WEFT_REDIRECT_LIMIT_DEFAULT,
		.connections_each = options->connections_each ? options->connections_each : WEFT_CONNECTIONS_MAX,
	};
	uint32_t zero = 0;

	bpf_map_update_elem(bpf_map__fd(skeleton->maps.control), &zero, &settings, BPF_ANY);
}

/* Where the programs count what has no record of its own for want of room. */
static void others_make(struct weft *skeleton)
{
	static const struct weft_traffic none;
	struct weft_traffic_key key = { 0 };

	bpf_map_update_elem(bpf_map__fd(skeleton->maps.traffic), &key, &none, BPF_NOEXIST);
	key.flag = WEFT_FLAG_TCP;
	bpf_map_update_elem(bpf_map__fd(skeleton->maps.traffic), &key, &none, BPF_NOEXIST);
}

void datapath_skeleton_destroy(struct weft **skeleton)
{
	if (*skeleton)
		weft__destroy(*skeleton);
}

/* Without a feature, what carries messages that way stays out. */
static void choose_programs(const struct datapath *dp, struct weft *skeleton, enum load_part part)
{
	bool fast_path = dp->features[FEATURE_SOCKMAP].is_on, messages = part != LOAD_FIRST;
	struct bpf_program *program;

	bpf_object__for_each_program(program, skeleton->obj)
		bpf_program__set_autoload(program, part != LOAD_MESSAGES);
	if (part != LOAD_MESSAGES)
		bpf_program__set_autoload(skeleton->progs.weft_connection_command, fast_path);
	bpf_program__set_autoload(skeleton->progs.weft_request, fast_path && messages);
	bpf_program__set_autoload(skeleton->progs.weft_reply, fast_path && messages);
	bpf_program__set_autoload(skeleton->progs.weft_response, dp->features[FEATURE_SK_SKB].is_on && messages);
	/* theirs alone, and not pinned */
	bpf_map__set_autocreate(skeleton->maps.memos, messages);
	bpf_map__set_autocreate(skeleton->maps.upstream_memos, messages);
	skeleton->rodata->has_cork = dp->features[FEATURE_CORK].is_on;
	skeleton->rodata->has_direct_reads = dp->features[FEATURE_DIRECT_READS].is_on;
#ifdef __x86_64__
	skeleton->rodata->has_ordered_reads = true;
#endif
	skeleton->rodata->has_push_pop = dp->features[FEATURE_PUSH_POP].is_on;
	skeleton->rodata->has_sk_skb = dp->features[FEATURE_SK_SKB].is_on;
}

static int size_maps(const struct datapath *dp, struct weft *skeleton)
{
	struct bpf_map *const maps[] = {skeleton->maps.connections, skeleton->maps.connection_ports, skeleton->maps.client_sockets};

	for (size_t i = 0; dp->connections_max && i < ARRAY_SIZE(maps); i++) {
		int r = bpf_map__set_max_entries(maps[i], dp->connections_max);

		if (r)
			return log_err(r, "sizing the map %s", bpf_map__name(maps[i]));
	}
	return 0;
}

int datapath_skeleton_load(struct datapath *dp, enum load_part part, struct weft **out)
{
	LIBBPF_OPTS(bpf_object_open_opts, open_options, .pin_root_path = dp->bpffs);
	_cleanup_(datapath_skeleton_destroy) struct weft *skeleton = NULL;
	char path[PATH_MAX];
	int r;

	skeleton = weft__open_opts(&open_options);
	if (!skeleton)
		return log_err(-errno, "opening the BPF object");
	snprintf(path, sizeof(path), "%s/images", dp->bpffs);
	bpf_map__set_pin_path(skeleton->maps.images, path);
	choose_programs(dp, skeleton, part);
	r = size_maps(dp, skeleton);
	if (r)
		return r;
	r = weft__load(skeleton);
	if (r)
		return r;
	*out = TAKE_PTR(skeleton);
	return 0;
}

/* Takes one feature away after a refusal. False: there is nothing left that weft could do without. */
static bool give_up_one(struct datapath *dp, int r)
{
	char why[80] = "this kernel refuses the programs";
	bool is_named = probe_missing_helper(why, sizeof(why));

	if (dp->features[FEATURE_DIRECT_READS].is_on && !is_named) {
		log_warn(r, "loading programs that read kernel structures by loads; trying calls");
		features_without_direct_reads(dp);
		return true;
	}
	if (dp->features[FEATURE_SK_SKB].is_on && !is_named) {
		log_warn(r, "loading the programs; trying without redirected responses (--log-level debug shows what the kernel said)");
		features_without_sk_skb(dp, why);
		return true;
	}
	if (dp->features[FEATURE_SOCKMAP].is_on) {
		/* Connections are still captured. */
		log_warn(r, "loading the fast path (%s); the proxy serves everything (--log-level debug shows what the kernel said)", why);
		features_without_fast_path(dp, why);
		return true;
	}
	log_err(r, "loading BPF programs (%s)", why);
	return false;
}

static int skeleton_load_what_can_be(struct datapath *dp, enum load_part part, struct weft **out)
{
	int r = datapath_skeleton_load(dp, part, out);

	while (r) {
		if (r == -EPERM)
			return log_err(r, "loading BPF programs (are CAP_BPF, CAP_NET_ADMIN and CAP_PERFMON there?)");
		if (!give_up_one(dp, r))
			return r;
		/* Once more, without what the last attempt has pinned. */
		pins_remove(dp->bpffs);
		r = mkdir(dp->bpffs, 0700) && errno != EEXIST ? -errno : 0;
		if (!r)
			r = datapath_skeleton_load(dp, part, out);
	}
	return 0;
}

int datapath_load(struct datapath *dp, const struct datapath_options *options)
{
	_cleanup_(datapath_skeleton_destroy) struct weft *skeleton = NULL;
	int r;

	libbpf_set_print(datapath_libbpf_log);
	features_before_loading(dp);
	r = skeleton_load_what_can_be(dp, options->message_programs_later ? LOAD_FIRST : LOAD_ALL, &skeleton);
	if (r)
		return r;
	step("load: programs loaded, maps pinned");
	features_mend_fionread(dp, bpf_program__fd(skeleton->progs.stub_reply));
	features_count_redirected(dp, bpf_program__fd(skeleton->progs.stub_reply), bpf_program__fd(skeleton->progs.stub_fionread));
	settings_write(dp, skeleton, options);
	others_make(skeleton);
	r = socket_programs_attach(dp, skeleton);
	step("load: stubs attached to maps");
	if (!r)
		r = program_arrays_fill(skeleton);
	step("load: program arrays filled");
	if (!r)
		r = programs_pin(dp, skeleton);
	step("load: programs pinned");
	if (!r)
		r = features_store(dp);
	step("load: features pinned");
	return r;
}

/* What is pinned is in use and stays. */
int datapath_load_messages(struct datapath *dp, struct weft **out)
{
	int r = datapath_skeleton_load(dp, LOAD_MESSAGES, out);

	while (r && dp->features[FEATURE_SOCKMAP].is_on && give_up_one(dp, r))
		r = dp->features[FEATURE_SOCKMAP].is_on ? datapath_skeleton_load(dp, LOAD_MESSAGES, out) : 0;
	return r;
}

int datapath_fill_messages(struct weft *skeleton)
{
	return program_arrays_fill(skeleton);
}

static void *map_memory(int fd, size_t entries, size_t value_size)
{
	size_t size = entries * ((value_size + 7) & ~7ul), page = (size_t)sysconf(_SC_PAGESIZE);
	void *memory = mmap(NULL, (size + page - 1) & ~(page - 1), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

	return memory == MAP_FAILED ? NULL : memory;
}

int datapath_open(struct datapath *dp)
{
	char path[PATH_MAX];

	libbpf_set_print(datapath_libbpf_log);
	for (int i = 0; i < MAP_COUNT; i++) {
		snprintf(path, sizeof(path), "%s/%s", dp->bpffs, datapath_map_names[i]);
		dp->maps[i] = bpf_obj_get(path);
		if (dp->maps[i] < 0)
			return log_err(-errno, "opening %s", path);
	}
	for (int i = 0; i < PROGRAM_COUNT; i++) {
		snprintf(path, sizeof(path), "%s/programs/%s", dp->bpffs, datapath_program_names[i]);
		dp->programs[i] = bpf_obj_get(path);
		/* Without a fast path there is nothing to command. */
		if (dp->programs[i] < 0 && !(i == PROGRAM_COMMAND && errno == ENOENT))
			return log_err(-errno, "opening %s", path);
	}
	dp->control = map_memory(dp->maps[MAP_CONTROL], 1, sizeof(*dp->control));
	dp->scopes = map_memory(dp->maps[MAP_SCOPES], WEFT_SCOPES_MAX, sizeof(*dp->scopes));
	dp->upstreams = map_memory(dp->maps[MAP_UPSTREAMS], WEFT_UPSTREAMS_MAX, sizeof(*dp->upstreams));
	dp->pools = map_memory(dp->maps[MAP_POOLS], WEFT_POOLS_MAX, sizeof(*dp->pools));
	dp->slot_traffic = map_memory(dp->maps[MAP_SLOT_TRAFFIC], WEFT_UPSTREAMS_MAX, sizeof(*dp->slot_traffic));
	dp->clusters = map_memory(dp->maps[MAP_CLUSTER_STATE], WEFT_CLUSTERS_MAX, sizeof(*dp->clusters));
	dp->endpoints = map_memory(dp->maps[MAP_ENDPOINT_STATE], WEFT_ENDPOINTS_MAX, sizeof(*dp->endpoints));
	if (!dp->control || !dp->scopes || !dp->upstreams || !dp->pools || !dp->slot_traffic || !dp->clusters || !dp->endpoints)
		return log_err(-ENOMEM, "mapping the arrays that are shared with the programs");
	return features_restore(dp);
}
