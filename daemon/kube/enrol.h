/* SPDX-License-Identifier: Apache-2.0 */
/* Whether a pod is to be enrolled: what operators have asked for by labels, and what stands against it. Decided of the objects alone. */
#ifndef WEFT_KUBE_ENROL_H
#define WEFT_KUBE_ENROL_H

#include "kube/objects.h"

#define ENROL_MODE_LABEL "istio.io/dataplane-mode"
#define ENROL_MODE "weft"

enum enrol_verdict {
	ENROL_UNASKED,   /* nobody wants it */
	ENROL_SKIPPED,   /* it is asked for, and can't be */
	ENROL_WAITING,   /* not yet */
	ENROL_WANTED,
};

enum enrol_reason {
	ENROL_NONE,
	ENROL_NOT_LABELLED,
	ENROL_OPTED_OUT,
	ENROL_OTHER_MODE,
	ENROL_HOST_NETWORK,
	ENROL_SIDECAR,
	ENROL_TERMINATED,
	ENROL_TRAFFIC_ANNOTATION,
	ENROL_NO_IP,
	ENROL_NO_CGROUP,             /* place.h */
	ENROL_NO_NETWORK_NAMESPACE,  /* likewise */
};

struct enrol {
	enum enrol_verdict verdict;
	enum enrol_reason reason;
	char text[240];              /* a sentence for people; "" when it is wanted */
};

/* `name`: the pod's namespace as far as it is known; NULL: not yet, as if it had no label. */
void enrol_judge(const struct kube_pod *pod, const struct kube_namespace *name, struct enrol *out);

const char *enrol_reason_name(enum enrol_reason reason); /* "host_network" */
const char *enrol_verdict_name(enum enrol_verdict verdict);

#endif
