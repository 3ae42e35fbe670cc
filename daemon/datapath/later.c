// SPDX-License-Identifier: Apache-2.0
/* Loading the programs that read messages while weftd serves already. The verifier takes about a second for them; until then the stubs find empty arrays,
 * so everything goes up and the proxy serves it, as it would with --fast-path off. */
#include <bpf/bpf.h>
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/fd.h"
#include "base/log.h"
#include "base/step.h"
#include "datapath/internal.h"

struct later {
	pthread_t thread;
	struct datapath view; /* the thread's own: names, and features as it finds them */
	struct weft *skeleton;
	int result;
	int done_fd;
};

static void *run(void *arg)
{
	struct later *later = arg;
	const uint64_t one = 1;

	later->result = datapath_load_messages(&later->view, &later->skeleton);
	step("later: message programs loaded");
	(void)fd_write_all(later->done_fd, &one, sizeof(one));
	return NULL;
}

static bool are_loaded(const struct datapath *dp)
{
	_cleanup_close_ int fd = -1;
	char path[PATH_MAX];
	uint32_t request = 0, id;

	snprintf(path, sizeof(path), "%s/msg_programs", dp->bpffs);
	fd = bpf_obj_get(path);
	return fd >= 0 && bpf_map_lookup_elem(fd, &request, &id) == 0;
}

int datapath_later_start(struct datapath *dp)
{
	struct later *later;
	int r;

	if (!dp->features[FEATURE_SOCKMAP].is_on || are_loaded(dp))
		return 0;
	later = calloc(1, sizeof(*later));
	if (!later)
		return -ENOMEM;
	memcpy(later->view.bpffs, dp->bpffs, sizeof(dp->bpffs));
	memcpy(later->view.features, dp->features, sizeof(dp->features));
	later->view.disabled = dp->disabled;
	later->view.connections_max = dp->connections_max;
	later->done_fd = eventfd(0, EFD_CLOEXEC);
	r = later->done_fd < 0 ? -errno : -pthread_create(&later->thread, NULL, run, later);
	if (r) {
		if (later->done_fd >= 0)
			close(later->done_fd);
		free(later);
		return log_err(r, "beginning to load the programs that read messages");
	}
	dp->later = later;
	return 0;
}

void datapath_later_free(struct later **pointer)
{
	struct later *later = TAKE_PTR(*pointer);

	if (!later)
		return;
	pthread_join(later->thread, NULL);
	datapath_skeleton_destroy(&later->skeleton);
	close(later->done_fd);
	free(later);
}

int datapath_later_fd(const struct datapath *dp)
{
	return dp->later ? dp->later->done_fd : -1;
}

int datapath_later_finish(struct datapath *dp)
{
	struct later *later = dp->later;
	int r;

	if (!later)
		return 0;
	pthread_join(later->thread, NULL);
	r = later->result;
	memcpy(dp->features, later->view.features, sizeof(dp->features));
	if (!r && later->skeleton)
		r = datapath_fill_messages(later->skeleton);
	if (r)
		features_without_fast_path(dp, "its programs could not be loaded");
	step("later: program arrays filled");
	datapath_skeleton_destroy(&later->skeleton);
	close(later->done_fd);
	free(later);
	dp->later = NULL;
	datapath_set_fast_path(dp, dp->wanted_fast_path);
	return features_store(dp) ? -EIO : r;
}
