// SPDX-License-Identifier: Apache-2.0
/* Programs of a weftd that replaces another one of the same ABI: loaded over the maps that are pinned, and kept in a folder of their own until
 * they are put in the place of those that run. Stubs stay as they are: they hang on cgroups and sockets. */
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/log.h"
#include "base/pins.h"
#include "base/step.h"
#include "abi_layout.h"
#include "datapath/internal.h"
#include "keeper/pass.h"
#include "weft.skel.h"

static void next_path(const struct datapath *dp, const char *name, char path[PATH_MAX])
{
	snprintf(path, PATH_MAX, "%s/next%s%s", dp->bpffs, name[0] ? "/" : "", name);
}

/* What runs has these features for the life of its connections, so what replaces it has them too. */
static int inherit_features(struct datapath *dp, uint32_t disabled)
{
	int r = features_restore(dp);

	for (int i = 0; !r && i < FEATURE_COUNT; i++) {
		if (!(disabled & 1u << i) || !dp->features[i].is_on)
			continue;
		log_error("--disable %s: the weftd that runs has it on, and open connections live by it: stop that one first, then start this one",
			  datapath_feature_names[i]);
		r = -EINVAL;
	}
	return r;
}

static int pin_next(const struct datapath *dp, struct weft *skeleton)
{
	char path[PATH_MAX];

	for (int i = 0; i < SLOT_COUNT; i++) {
		struct bpf_program *program = bpf_object__find_program_by_name(skeleton->obj, datapath_slots[i].program);

		if (program && !bpf_program__autoload(program))
			continue;
		next_path(dp, datapath_slots[i].program, path);
		if (!program || bpf_obj_pin(bpf_program__fd(program), path))
			return log_err(-errno, "pinning %s", path);
		step("replace: a program pinned");
	}
	return 0;
}

int datapath_load_next(const struct datapath_options *options)
{
	_cleanup_(datapath_skeleton_destroy) struct weft *skeleton = NULL;
	_cleanup_free_ struct datapath *dp = calloc(1, sizeof(*dp));
	char path[PATH_MAX];
	int r;

	if (!dp)
		return -ENOMEM;
	r = pins_path(options->bpffs, PASS_ABI, path);
	if (r || strlen(path) >= sizeof(dp->bpffs))
		return log_err(-ENAMETOOLONG, "--bpffs");
	memcpy(dp->bpffs, path, strlen(path) + 1);
	dp->connections_max = options->connections_max;
	libbpf_set_print(datapath_libbpf_log);
	r = inherit_features(dp, options->disabled);
	if (r)
		return r;
	next_path(dp, "", path);
	r = pins_remove(path); /* of a replacement that was given up */
	if (r)
		return r;
	r = datapath_skeleton_load(dp, LOAD_ALL, &skeleton);
	if (r)
		return log_err(r, "loading the programs over the maps in %s (with other --limit options than those of the weftd that runs it can't be "
			       "replaced)", dp->bpffs);
	step("replace: programs loaded");
	if (mkdir(path, 0700))
		return log_err(-errno, "making %s", path);
	r = pin_next(dp, skeleton);
	if (r)
		pins_remove(path);
	return r;
}

void datapath_forget_loaded(const char *bpffs)
{
	char folder[PATH_MAX], path[PATH_MAX];

	if (!pins_path(bpffs, PASS_ABI, folder) && snprintf(path, sizeof(path), "%s/next", folder) < (int)sizeof(path))
		pins_remove(path);
}

/* A pin is replaced by rename, so that there always is one. */
static int repin(const struct datapath *dp, const char *name)
{
	char from[PATH_MAX], to[PATH_MAX];

	next_path(dp, name, from);
	snprintf(to, sizeof(to), "%s/programs/%s", dp->bpffs, name);
	return rename(from, to) ? log_err(-errno, "putting %s in the place of %s", from, to) : 0;
}

static int put_in_force(const struct datapath *dp, const struct datapath_slot *slot)
{
	_cleanup_close_ int program = -1, array = -1;
	char path[PATH_MAX];
	uint32_t key = slot->key;

	next_path(dp, slot->program, path);
	program = bpf_obj_get(path);
	if (program < 0)
		return errno == ENOENT ? 0 : log_err(-errno, "opening %s", path); /* without its feature, or done already */
	if (!slot->array)
		return repin(dp, slot->program);
	snprintf(path, sizeof(path), "%s/%s", dp->bpffs, slot->array);
	array = bpf_obj_get(path);
	if (array < 0 || bpf_map_update_elem(array, &key, &program, BPF_ANY))
		return log_err(-errno, "putting %s into %s", slot->program, path);
	return 0;
}

int datapath_put_next_in_force(struct datapath *dp)
{
	char path[PATH_MAX];

	for (int i = 0; i < SLOT_COUNT; i++) {
		int r = put_in_force(dp, &datapath_slots[i]);

		if (r)
			return r;
		step("replace: a program in force");
	}
	next_path(dp, "", path);
	return pins_remove(path);
}

int datapath_load_beside(const struct datapath_options *options)
{
	_cleanup_(datapath_free) struct datapath *dp = NULL;
	int r = datapath_empty_own(options->bpffs);

	return r ? r : datapath_new(&dp, options);
}
