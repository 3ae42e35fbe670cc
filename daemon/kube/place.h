/* SPDX-License-Identifier: Apache-2.0 */
/* Where a pod of Kubernetes is on this node: its cgroup, found by what kubelet calls it under any of its drivers, and its network namespace, found
 * by the oldest process in there. */
#ifndef WEFT_KUBE_PLACE_H
#define WEFT_KUBE_PLACE_H

#include "base/strbuf.h"
#include "kube/enrol.h"
#include "kube/netns.h"

struct place_roots {
	const char *proc;            /* /proc of the node, in the PID namespace of the one who reads */
	const char *cgroup;          /* where cgroup v2 is mounted */
};

struct place {
	char *cgroup;                /* the pod's folder: its containers' are below */
	char *network_namespace;     /* path by a process, which may end before the pod does: what it leads to must be compared with `netns` */
	struct file_identity netns;
};

/* 0; -ENOENT, and why in `why` (verdict ENROL_WAITING: it may come); -errno. */
int place_find(const struct place_roots *roots, const struct kube_pod *pod, struct place *out, struct enrol *why);
void place_release(struct place *place);

/* Is the pod still there, in the same network namespace? A pod whose sandbox was made anew is not. The path is brought up to date. */
bool place_holds(const struct place_roots *roots, struct place *place);

#endif
