// SPDX-License-Identifier: Apache-2.0
/* What this kernel can do, and which of its bugs apply: tried where trying is safe, told by the fix level where it isn't
 * (kernel-facts, pitfalls 1 and 9). */
#include <bpf/bpf.h>
#include <bpf/btf.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/log.h"
#include "datapath/internal.h"

struct release {
	unsigned major, minor, patch;
};

/* "6.1.0-50-amd64 #1 SMP Debian 6.1.176-1": Debian's uname has the stable level in its version field. */
static void release_read(struct release *out)
{
	struct utsname name;
	const char *debian;
	struct release stable;

	memset(out, 0, sizeof(*out));
	if (uname(&name) || sscanf(name.release, "%u.%u.%u", &out->major, &out->minor, &out->patch) < 2)
		return;
	debian = strstr(name.version, "Debian ");
	if (debian && sscanf(debian, "Debian %u.%u.%u", &stable.major, &stable.minor, &stable.patch) == 3)
		*out = stable;
}

/* A fix that came in 6.1.a and 6.12.b: newer series than 6.18 have it, of others in between nothing is known. */
static bool has_fix(const struct release *kernel, unsigned patch_6_1, unsigned patch_6_12)
{
	if (kernel->major != 6)
		return kernel->major > 6;
	if (kernel->minor == 1)
		return kernel->patch >= patch_6_1;
	if (kernel->minor == 12)
		return kernel->patch >= patch_6_12;
	return kernel->minor > 18;
}

static void feature_set(struct datapath_feature_state *feature, const char *name, bool is_on, const char *detail)
{
	feature->name = name;
	feature->is_on = is_on;
	snprintf(feature->detail, sizeof(feature->detail), "%s", detail);
}

void features_by_release(struct datapath_feature_state features[FEATURE_COUNT])
{
	struct release kernel;
	bool cork, edits;

	release_read(&kernel);
	cork = has_fix(&kernel, 187, 101);
	/* The overflow is known for the two long-term series; others are not accused. */
	edits = !(kernel.major == 6 && ((kernel.minor == 1 && kernel.patch < 180) || (kernel.minor == 12 && kernel.patch < 100)));
	feature_set(&features[FEATURE_SOCKMAP], "sockmap", true, "programs loaded");
	feature_set(&features[FEATURE_SK_SKB], "sk_skb", true, "programs loaded");
	feature_set(&features[FEATURE_CORK], "cork", cork,
		    cork ? "fixed in this kernel" : "use-after-free before 6.1.187 and 6.12.101, unknown here: partial heads go to the proxy");
	feature_set(&features[FEATURE_PUSH_POP], "push_pop", edits,
		    edits ? "local replies in the kernel" : "overflow before 6.1.180 and 6.12.100: local replies by the proxy");
}

bool features_know_direct_reads(void)
{
	struct btf *btf = btf__load_vmlinux_btf();
	bool is_known = btf && btf__find_by_name_kind(btf, "bpf_rdonly_cast", BTF_KIND_FUNC) > 0;

	btf__free(btf);
	return is_known;
}

void features_set_direct_reads(struct datapath_feature_state features[FEATURE_COUNT], bool is_on)
{
	feature_set(&features[FEATURE_DIRECT_READS], "direct_reads", is_on,
		    is_on ? "kernel structures are read by loads" : "no bpf_rdonly_cast (Linux 6.2): kernel structures are read by calls");
}

void features_without_fast_path(struct datapath_feature_state features[FEATURE_COUNT])
{
	feature_set(&features[FEATURE_SOCKMAP], "sockmap", false, "this kernel refuses the message programs: the proxy serves everything");
	feature_set(&features[FEATURE_SK_SKB], "sk_skb", false, "this kernel refuses the message programs");
	feature_set(&features[FEATURE_CORK], "cork", false, "no fast path");
	feature_set(&features[FEATURE_PUSH_POP], "push_pop", false, "no fast path");
}

static int loopback_pair(int *client, int *server)
{
	_cleanup_close_ int listener = -1, c = -1;
	struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t len = sizeof(address);

	listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	c = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (listener < 0 || c < 0 || bind(listener, (struct sockaddr *)&address, len) || listen(listener, 1) ||
	    getsockname(listener, (struct sockaddr *)&address, &len) || connect(c, (struct sockaddr *)&address, len))
		return -errno;
	*server = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
	if (*server < 0)
		return -errno;
	*client = TAKE_FD(c);
	return 0;
}

/* Does FIONREAD count TCP bytes on a socket that has a message program alone? 1: it does, 0: the bug, -errno: not to be known. */
static int fionread_counts(int message_stub)
{
	_cleanup_close_ int map = -1, client = -1, server = -1;
	uint64_t value;
	uint32_t key = 0;
	int r, waiting = 0;

	r = loopback_pair(&client, &server);
	if (r)
		return r;
	map = bpf_map_create(BPF_MAP_TYPE_SOCKMAP, "weft_probe", 4, 8, 1, NULL);
	if (map < 0)
		return -errno;
	if (bpf_prog_attach(message_stub, map, BPF_SK_MSG_VERDICT, 0))
		return -errno;
	value = (uint64_t)server;
	if (bpf_map_update_elem(map, &key, &value, BPF_ANY))
		return -errno;
	if (send(client, "weft", 4, MSG_NOSIGNAL) != 4)
		return -errno;
	for (int i = 0; i < 50 && !waiting; i++) {
		if (ioctl(server, FIONREAD, &waiting))
			return -errno;
		if (!waiting)
			usleep(1000);
	}
	return waiting > 0;
}

void features_by_trying(struct datapath_feature_state features[FEATURE_COUNT], int message_stub)
{
	int r = fionread_counts(message_stub);

	if (r == 1) {
		feature_set(&features[FEATURE_FIONREAD_MEND], "fionread_mend", false, "not needed: FIONREAD counts TCP bytes");
		return;
	}
	if (r < 0)
		log_warn(r, "probing FIONREAD; mending it to be safe");
	feature_set(&features[FEATURE_FIONREAD_MEND], "fionread_mend", true,
		    "this kernel's FIONREAD misses TCP bytes in a sockmap: mended by a no-op verdict");
}

/* The next worker opens pinned objects and must report what was found when they were loaded. */
static void features_path(const struct datapath *dp, char path[PATH_MAX])
{
	snprintf(path, PATH_MAX, "%s/features", dp->bpffs);
}

int features_store(const struct datapath *dp)
{
	_cleanup_close_ int fd = -1;
	char path[PATH_MAX];
	uint32_t key = 0;

	fd = bpf_map_create(BPF_MAP_TYPE_ARRAY, "weft_features", 4, sizeof(dp->features), 1, NULL);
	if (fd < 0)
		return log_err(-errno, "keeping the probed features");
	features_path(dp, path);
	if (bpf_map_update_elem(fd, &key, dp->features, BPF_ANY) || bpf_obj_pin(fd, path))
		return log_err(-errno, "keeping the probed features in %s", path);
	return 0;
}

int features_restore(struct datapath *dp)
{
	static const char *const names[FEATURE_COUNT] = {"sockmap", "sk_skb", "fionread_mend", "direct_reads", "cork", "push_pop"};
	_cleanup_close_ int fd = -1;
	char path[PATH_MAX];
	uint32_t key = 0;

	features_path(dp, path);
	fd = bpf_obj_get(path);
	if (fd < 0 || bpf_map_lookup_elem(fd, &key, dp->features))
		return log_err(-errno, "reading the probed features from %s", path);
	/* A pointer of the former worker means nothing here. */
	for (int i = 0; i < FEATURE_COUNT; i++)
		dp->features[i].name = names[i];
	return 0;
}
