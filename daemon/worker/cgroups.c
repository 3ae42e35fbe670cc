/* SPDX-License-Identifier: Apache-2.0 */
/* Whose cgroup is whose. The kernel runs the programs of a folder for all that is below it too, and once for each time that they were attached: a
 * connect() that they saw twice would be captured twice, and the second time nobody knows where it was going. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "worker/internal.h"

/* Is one of them the other, or below it? Both without links. */
static bool do_overlap(const char *a, const char *b)
{
	size_t a_len = strlen(a), b_len = strlen(b), len = WEFT_MIN(a_len, b_len);

	return strncmp(a, b, len) == 0 && (a_len == b_len || (a_len > b_len ? a : b)[len] == '/');
}

static int complain(char *complaint, size_t size, const char *pod_cgroup, const char *cgroup, const char *whose)
{
	const char *relation = strlen(pod_cgroup) == strlen(cgroup) ? "is" : strlen(pod_cgroup) < strlen(cgroup) ? "has within it" : "lies in";

	snprintf(complaint, size, "its cgroup %s that of %s: each needs one of its own", relation, whose);
	return -EEXIST;
}

int cgroup_claim(const struct worker *worker, struct node_pod *pod, char *complaint, size_t size)
{
	_cleanup_free_ char *own = realpath(worker->config->own_cgroup, NULL);
	char whose[200];

	free(pod->cgroup_real);
	pod->cgroup_real = realpath(pod->cgroup, NULL);
	if (!pod->cgroup_real) {
		int r = -errno;

		snprintf(complaint, size, "cgroup %s: %s", pod->cgroup, strerror(-r));
		return r;
	}
	/* What weft sends itself would be captured like what the pod sends. */
	if (own && do_overlap(pod->cgroup_real, own))
		return complain(complaint, size, pod->cgroup_real, own, "weftd (--cgroup)");
	for (size_t i = 0; i < worker->pods.count; i++) {
		const struct node_pod *other = worker->pods.items[i];

		if (other == pod || !other->added || !do_overlap(pod->cgroup_real, other->cgroup_real))
			continue;
		snprintf(whose, sizeof(whose), "pod %s/%s", other->namespace_name, other->name);
		return complain(complaint, size, pod->cgroup_real, other->cgroup_real, whose);
	}
	return 0;
}
