/* SPDX-License-Identifier: Apache-2.0 */
#include "kube/enrol.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/cleanup.h"
#include "kube/exceptions.h"

#define SIDECAR_STATUS "sidecar.istio.io/status"
#define SIDECAR_CONTAINER "istio-proxy"

static const char *const reason_names[] = {
	[ENROL_NONE] = "",
	[ENROL_NOT_LABELLED] = "not_labelled",
	[ENROL_OPTED_OUT] = "opted_out",
	[ENROL_OTHER_MODE] = "other_mode",
	[ENROL_HOST_NETWORK] = "host_network",
	[ENROL_SIDECAR] = "sidecar",
	[ENROL_TERMINATED] = "terminated",
	[ENROL_TRAFFIC_ANNOTATION] = "traffic_annotation",
	[ENROL_NO_IP] = "no_ip",
	[ENROL_NO_CGROUP] = "no_cgroup",
	[ENROL_NO_NETWORK_NAMESPACE] = "no_network_namespace",
};

static const char *const verdict_names[] = {
	[ENROL_UNASKED] = "unasked",
	[ENROL_SKIPPED] = "skipped",
	[ENROL_WAITING] = "waiting",
	[ENROL_WANTED] = "wanted",
};

const char *enrol_reason_name(enum enrol_reason reason)
{
	return (size_t)reason < ARRAY_SIZE(reason_names) ? reason_names[reason] : "?";
}

const char *enrol_verdict_name(enum enrol_verdict verdict)
{
	return (size_t)verdict < ARRAY_SIZE(verdict_names) ? verdict_names[verdict] : "?";
}

static void set(struct enrol *out, enum enrol_verdict verdict, enum enrol_reason reason, const char *fmt, ...) __attribute__((format(printf, 4, 5)));
static void set(struct enrol *out, enum enrol_verdict verdict, enum enrol_reason reason, const char *fmt, ...)
{
	va_list args;

	out->verdict = verdict;
	out->reason = reason;
	va_start(args, fmt);
	vsnprintf(out->text, sizeof(out->text), fmt, args);
	va_end(args);
}

/* The pod's label, or else its namespace's; `none` on the pod always wins. */
static bool is_asked_for(const struct kube_pod *pod, const struct kube_namespace *name, struct enrol *out)
{
	const char *own = kube_pod_label(pod, ENROL_MODE_LABEL), *mode = own && *own ? own : name ? name->dataplane_mode : "";

	if (strcmp(mode, ENROL_MODE) == 0)
		return true;
	if (!*mode)
		set(out, ENROL_UNASKED, ENROL_NOT_LABELLED, "neither it nor its namespace has the label " ENROL_MODE_LABEL "=" ENROL_MODE);
	else if (strcmp(mode, "none") == 0)
		set(out, ENROL_UNASKED, ENROL_OPTED_OUT, "the label " ENROL_MODE_LABEL "=none on the %s", own && *own ? "pod" : "namespace");
	else
		set(out, ENROL_UNASKED, ENROL_OTHER_MODE, "the label " ENROL_MODE_LABEL "=%.64s on the %s: another mesh's", mode, own && *own ? "pod" : "namespace");
	return false;
}

static bool has_sidecar(const struct kube_pod *pod, struct enrol *out)
{
	if (kube_pod_annotation(pod, SIDECAR_STATUS)) {
		set(out, ENROL_SKIPPED, ENROL_SIDECAR, "it has a sidecar: the annotation " SIDECAR_STATUS);
		return true;
	}
	for (size_t i = 0; i < pod->container_count; i++) {
		const struct kube_container *container = &pod->containers[i];

		if (strcmp(container->name, SIDECAR_CONTAINER) == 0 && (!container->is_init || container->is_sidecar)) {
			set(out, ENROL_SKIPPED, ENROL_SIDECAR, "it has a sidecar: the container " SIDECAR_CONTAINER);
			return true;
		}
	}
	return false;
}

/* What of traffic a sidecar would leave alone: what weft leaves alone likewise (exceptions.h), and what is so anyway, since weft stands in no pod's
 * inbound way. */
static bool is_heeded(const char *name, const char *value)
{
	return exceptions_has(name) || strcmp(name, "includeInboundPorts") == 0 || strcmp(name, "excludeInboundPorts") == 0 || !*value;
}

static bool has_unmet_exceptions(const struct kube_pod *pod, struct enrol *out)
{
	struct weft_exceptions exceptions;
	char problem[200] = "";

	for (size_t i = 0; i < pod->annotation_count; i++) {
		const char *key = pod->annotations[i].key;

		if (strncmp(key, EXCEPTIONS_PREFIX, strlen(EXCEPTIONS_PREFIX)) != 0 || is_heeded(key + strlen(EXCEPTIONS_PREFIX), pod->annotations[i].value))
			continue;
		set(out, ENROL_SKIPPED, ENROL_TRAFFIC_ANNOTATION, "weft does not make this exception of traffic: the annotation %.100s: %.60s", key,
		    pod->annotations[i].value);
		return true;
	}
	if (!exceptions_read(pod, &exceptions, problem, sizeof(problem)))
		return false;
	set(out, ENROL_SKIPPED, ENROL_TRAFFIC_ANNOTATION, "%s", problem[0] ? problem : "no memory for its exceptions of traffic");
	return true;
}

void enrol_judge(const struct kube_pod *pod, const struct kube_namespace *name, struct enrol *out)
{
	*out = (struct enrol){ .verdict = ENROL_WANTED };
	if (!is_asked_for(pod, name, out))
		return;
	if (pod->is_host_network)
		set(out, ENROL_SKIPPED, ENROL_HOST_NETWORK, "it has the network namespace of the node (hostNetwork)");
	else if (has_sidecar(pod, out))
		return;
	else if (strcmp(pod->phase, "Succeeded") == 0 || strcmp(pod->phase, "Failed") == 0)
		set(out, ENROL_SKIPPED, ENROL_TERMINATED, "it has ended (%s)", pod->phase);
	else if (has_unmet_exceptions(pod, out))
		return;
	else if (!pod->ip_count)
		set(out, ENROL_WAITING, ENROL_NO_IP, "it has no address yet");
}
