// SPDX-License-Identifier: Apache-2.0
/* What this kernel can do, what the option takes away, and why: decided before and while the programs are loaded, kept for the next worker.
 * What is found out by doing it is in probe.c; bugs that harm memory are told by the fix level (kernel-facts, pitfalls 1 and 9). */
#include <bpf/bpf.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/btf.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/fd.h"
#include "base/log.h"
#include "base/strbuf.h"
#include "datapath/internal.h"

#define KERNEL_TYPES "/sys/kernel/btf/vmlinux"
#define KERNEL_TYPES_MAX ((size_t)64 << 20)

const char *const datapath_feature_names[FEATURE_COUNT] = {
	[FEATURE_SOCKMAP] = "sockmap",
	[FEATURE_SK_SKB] = "sk_skb",
	[FEATURE_FIONREAD_MEND] = "fionread_mend",
	[FEATURE_FIONREAD_REDIRECTED] = "fionread_redirected",
	[FEATURE_DIRECT_READS] = "direct_reads",
	[FEATURE_CORK] = "cork",
	[FEATURE_PUSH_POP] = "push_pop",
};

/* ---- the option ------------------------------------------------------------------------------------------------------------------ */

static bool find_feature(const char *name, size_t len, uint32_t *bit)
{
	for (size_t i = 0; i < FEATURE_COUNT; i++) {
		if (strlen(datapath_feature_names[i]) == len && strncmp(datapath_feature_names[i], name, len) == 0) {
			*bit = 1u << i;
			return true;
		}
	}
	return false;
}

int datapath_features_parse(const char *names, uint32_t *bits, struct strbuf *complaint)
{
	uint32_t found = 0, bit = 0;
	const char *at = names;

	for (;;) {
		size_t len = strcspn(at, ",");

		if (!find_feature(at, len, &bit)) {
			strbuf_printf(complaint, "\"%.*s\" is no feature; these are:", (int)len, at);
			for (size_t i = 0; i < FEATURE_COUNT; i++)
				strbuf_printf(complaint, "%s %s", i ? "," : "", datapath_feature_names[i]);
			return -EINVAL;
		}
		found |= bit;
		if (!at[len])
			break;
		at += len + 1;
	}
	*bits = found;
	return 0;
}

/* ---- fix levels ------------------------------------------------------------------------------------------------------------------ */

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

/* The overflow is known for the two long-term series; others are not accused. */
static bool has_safe_edits(const struct release *kernel)
{
	return !(kernel->major == 6 && ((kernel->minor == 1 && kernel->patch < 180) || (kernel->minor == 12 && kernel->patch < 100)));
}

/* ---- the states ------------------------------------------------------------------------------------------------------------------ */

bool feature_is_disabled(const struct datapath *dp, enum datapath_feature feature)
{
	return dp->disabled >> feature & 1;
}

static void feature_set(struct datapath *dp, enum datapath_feature feature, bool is_on, const char *fmt, ...) __attribute__((format(printf, 4, 5)));
static void feature_set(struct datapath *dp, enum datapath_feature feature, bool is_on, const char *fmt, ...)
{
	struct datapath_feature_state *state = &dp->features[feature];
	bool is_disabled = feature_is_disabled(dp, feature);
	va_list args;

	state->name = datapath_feature_names[feature];
	state->is_on = is_on && !is_disabled;
	va_start(args, fmt);
	vsnprintf(state->detail, sizeof(state->detail), is_disabled ? "disabled by option" : fmt, args);
	va_end(args);
}

/* Only the names: to parse the types, some hundred thousand, takes ten times as long, and libbpf does it anyway when it loads the programs. */
static bool knows_direct_reads(void)
{
	static const char name[] = "\0bpf_rdonly_cast";
	_cleanup_(strbuf_release) struct strbuf text = STRBUF_INIT;
	_cleanup_close_ int fd = open(KERNEL_TYPES, O_RDONLY | O_CLOEXEC);
	struct btf_header header;

	if (fd < 0 || pread(fd, &header, sizeof(header), 0) != (ssize_t)sizeof(header) || header.magic != BTF_MAGIC)
		return false;
	if (lseek(fd, (off_t)header.hdr_len + header.str_off, SEEK_SET) < 0 || fd_read_all(fd, KERNEL_TYPES_MAX, &text))
		return false;
	return memmem(strbuf_text(&text), text.size, name, sizeof(name));
}

static void set_direct_reads(struct datapath *dp, bool is_on)
{
	feature_set(dp, FEATURE_DIRECT_READS, is_on,
		    is_on ? "kernel structures are read by loads" : "no bpf_rdonly_cast (Linux 6.2): kernel structures are read by calls");
}

static void set_edits(struct datapath *dp, const struct release *kernel)
{
	int r;

	if (feature_is_disabled(dp, FEATURE_PUSH_POP)) {
		feature_set(dp, FEATURE_PUSH_POP, false, "%s", "");
		return;
	}
	if (!has_safe_edits(kernel)) {
		feature_set(dp, FEATURE_PUSH_POP, false, "overflow before 6.1.180 and 6.12.100: local replies and changed requests by the proxy");
		return;
	}
	r = probe_edits();
	if (r == 1)
		feature_set(dp, FEATURE_PUSH_POP, true, "tried: local replies and changed requests in the kernel");
	else
		feature_set(dp, FEATURE_PUSH_POP, false, "%s (%s): local replies and changed requests by the proxy",
			    r ? "editing a message could not be tried" : "an edited message arrived wrong", r ? strerror(-r) : "tried");
}

void features_before_loading(struct datapath *dp)
{
	struct release kernel;

	release_read(&kernel);
	feature_set(dp, FEATURE_SOCKMAP, true, "programs loaded");
	feature_set(dp, FEATURE_SK_SKB, true, "programs loaded");
	/* Where its use after free is mended, a corked head leaves its count behind, and shorter writes after it wait for ever. bpf/request.h resets
	 * the count; until that is proven on those kernels, no cork. */
	feature_set(dp, FEATURE_CORK, false, "%s",
		    "unsafe before 6.1.187 and 6.12.101, not proven in newer kernels: partial heads go to the proxy");
	set_direct_reads(dp, knows_direct_reads());
	if (feature_is_disabled(dp, FEATURE_SOCKMAP))
		features_without_fast_path(dp, "");
	else
		set_edits(dp, &kernel);
}

void features_without_direct_reads(struct datapath *dp)
{
	feature_set(dp, FEATURE_DIRECT_READS, false, "this kernel refuses the programs with them: kernel structures are read by calls");
}

void features_without_sk_skb(struct datapath *dp, const char *why)
{
	feature_set(dp, FEATURE_SK_SKB, false, "%s: requests to other nodes go through the proxy", why);
}

void features_without_fast_path(struct datapath *dp, const char *why)
{
	feature_set(dp, FEATURE_SOCKMAP, false, "%s: the proxy serves everything", why);
	feature_set(dp, FEATURE_SK_SKB, false, "no fast path");
	feature_set(dp, FEATURE_CORK, false, "no fast path");
	feature_set(dp, FEATURE_PUSH_POP, false, "no fast path");
}

void features_mend_fionread(struct datapath *dp, int message_stub)
{
	int r;

	if (!dp->features[FEATURE_SOCKMAP].is_on) {
		feature_set(dp, FEATURE_FIONREAD_MEND, false, "not needed: no fast path");
		return;
	}
	if (feature_is_disabled(dp, FEATURE_FIONREAD_MEND)) {
		feature_set(dp, FEATURE_FIONREAD_MEND, false, "%s", "");
		return;
	}
	r = probe_fionread(message_stub);
	if (r < 0)
		log_warn(r, "probing FIONREAD");
	/* Without a verdict program, a read after a reset gives EFAULT too (seen on 6.12 and 6.18, where nothing safe tells it beforehand): so
	 * the verdict is there whatever FIONREAD says. */
	feature_set(dp, FEATURE_FIONREAD_MEND, true,
		    r == 1 ? "a no-op verdict: without it a read after a reset gives EFAULT; FIONREAD is right either way" :
			     "a no-op verdict: without it FIONREAD misses TCP bytes, and a read after a reset gives EFAULT");
}

void features_count_redirected(struct datapath *dp, int message_stub, int verdict_stub)
{
	int r;

	if (!dp->features[FEATURE_SOCKMAP].is_on) {
		feature_set(dp, FEATURE_FIONREAD_REDIRECTED, false, "not needed: no fast path");
		return;
	}
	if (feature_is_disabled(dp, FEATURE_FIONREAD_REDIRECTED)) {
		feature_set(dp, FEATURE_FIONREAD_REDIRECTED, false, "%s", "");
		return;
	}
	r = probe_redirected_fionread(message_stub, dp->features[FEATURE_FIONREAD_MEND].is_on ? verdict_stub : -1);
	if (r < 0)
		log_warn(r, "probing FIONREAD of redirected bytes; taken for missing, to be safe");
	if (r == 1)
		feature_set(dp, FEATURE_FIONREAD_REDIRECTED, true, "tried: FIONREAD counts redirected bytes");
	else
		feature_set(dp, FEATURE_FIONREAD_REDIRECTED, false, "FIONREAD misses redirected bytes: the fast path is off unless asked for");
}

#define WHO_ASKS_FIONREAD "applications that wait for FIONREAD (Java, .NET, nginx as a proxy)"

/* What an application would notice of the fast path here; NULL: nothing. */
static const char *harm(const struct datapath *dp)
{
	if (!dp->features[FEATURE_FIONREAD_MEND].is_on)
		return "nothing mends FIONREAD, nor reads after a reset";
	return dp->features[FEATURE_FIONREAD_REDIRECTED].is_on ? NULL : "FIONREAD does not count redirected bytes";
}

enum weft_fast_path features_fast_path(const struct datapath *dp, enum weft_fast_path wanted)
{
	const char *what = harm(dp);

	if (!dp->features[FEATURE_SOCKMAP].is_on)
		return WEFT_FAST_PATH_OFF;
	if (!what)
		return wanted == WEFT_FAST_PATH_AUTO ? WEFT_FAST_PATH_ON : wanted;
	if (wanted == WEFT_FAST_PATH_AUTO) {
		log_warning("%s: " WHO_ASKS_FIONREAD " would hang; the proxy serves everything; --fast-path on overrides this", what);
		return WEFT_FAST_PATH_OFF;
	}
	if (wanted != WEFT_FAST_PATH_OFF)
		log_warning("%s, and --fast-path %s was asked for: " WHO_ASKS_FIONREAD " may hang", what, wanted == WEFT_FAST_PATH_ON ? "on" : "remote");
	return wanted;
}

/* ---- for the next worker --------------------------------------------------------------------------------------------------------- */

/* It opens pinned objects and must report what was found when they were loaded. */
static void features_path(const struct datapath *dp, char path[PATH_MAX])
{
	snprintf(path, PATH_MAX, "%s/features", dp->bpffs);
}

int features_store(const struct datapath *dp)
{
	_cleanup_close_ int fd = -1;
	char path[PATH_MAX];
	uint32_t key = 0;
	bool is_there;

	features_path(dp, path);
	fd = bpf_obj_get(path);
	is_there = fd >= 0;
	if (!is_there)
		fd = bpf_map_create(BPF_MAP_TYPE_ARRAY, "weft_features", 4, sizeof(dp->features), 1, NULL);
	if (fd < 0)
		return log_err(-errno, "keeping the probed features");
	if (bpf_map_update_elem(fd, &key, dp->features, BPF_ANY) || (!is_there && bpf_obj_pin(fd, path)))
		return log_err(-errno, "keeping the probed features in %s", path);
	return 0;
}

int features_restore(struct datapath *dp)
{
	_cleanup_close_ int fd = -1;
	char path[PATH_MAX];
	uint32_t key = 0;

	features_path(dp, path);
	fd = bpf_obj_get(path);
	if (fd < 0 || bpf_map_lookup_elem(fd, &key, dp->features))
		return log_err(-errno, "reading the probed features from %s", path);
	/* A pointer of the former worker means nothing here. */
	for (int i = 0; i < FEATURE_COUNT; i++)
		dp->features[i].name = datapath_feature_names[i];
	return 0;
}
