/* SPDX-License-Identifier: Apache-2.0 */
/* What metrics call a client: what the injector would have told its sidecar, from what the pod says of itself. */
#include <string.h>

#include "base/cleanup.h"
#include "kube/pods.h"
#include "worker/internal.h"

static const char *label(const struct pod *pod, const char *key)
{
	for (size_t i = 0; i < pod->label_count; i++) {
		if (strcmp(pod->labels[i].key, key) == 0)
			return pod->labels[i].value;
	}
	return "";
}

static const char *first_label(const struct pod *pod, const char *const keys[], size_t count)
{
	for (size_t i = 0; i < count; i++) {
		const char *value = label(pod, keys[i]);

		if (*value)
			return value;
	}
	return "";
}

/* Bytes of `name` before its last `parts` parts; all of it where it has not so many. */
static size_t without_parts(const char *name, unsigned parts)
{
	size_t len = strlen(name);

	for (size_t i = len; i > 0; i--) {
		if (name[i - 1] == '-' && --parts == 0)
			return i > 1 ? i - 1 : len;
	}
	return len;
}

/* Whose pod it is: controllers name pods after themselves and leave a label in them. */
static size_t workload_name(const struct pod *pod, const char **name)
{
	*name = label(pod, "service.istio.io/workload-name");
	if (**name)
		return strlen(*name);
	*name = pod->name;
	if (*label(pod, "pod-template-hash"))
		return without_parts(pod->name, 2); /* a Deployment's ReplicaSet's */
	if (*label(pod, "statefulset.kubernetes.io/pod-name") || *label(pod, "controller-revision-hash"))
		return without_parts(pod->name, 1); /* a StatefulSet's, a DaemonSet's */
	if (*label(pod, "batch.kubernetes.io/job-name"))
		*name = label(pod, "batch.kubernetes.io/job-name");
	else if (*label(pod, "job-name"))
		*name = label(pod, "job-name");
	return strlen(*name);
}

void put_label(struct strbuf *out, const char *name, const char *value, size_t len)
{
	strbuf_printf(out, "%s=\"", name);
	if (!len)
		strbuf_append_text(out, "unknown");
	for (size_t i = 0; i < len; i++) {
		if (value[i] == '\n')
			strbuf_append_text(out, "\\n");
		else if (value[i] == '"' || value[i] == '\\')
			strbuf_printf(out, "\\%c", value[i]);
		else
			strbuf_append_byte(out, value[i]);
	}
	strbuf_append_text(out, "\",");
}

static void put(struct strbuf *out, const char *name, const char *value)
{
	put_label(out, name, value, strlen(value));
}

char *source_labels(const struct pod *pod, const char *cluster_id)
{
	static const char *const services[] = { "service.istio.io/canonical-name", "app.kubernetes.io/name", "app" };
	static const char *const revisions[] = { "service.istio.io/canonical-revision", "app.kubernetes.io/version", "version" };
	_cleanup_(strbuf_release) struct strbuf out = STRBUF_INIT;
	const char *service = first_label(pod, services, ARRAY_SIZE(services)), *revision = first_label(pod, revisions, ARRAY_SIZE(revisions));
	const char *workload;
	size_t len = workload_name(pod, &workload);

	put_label(&out, "source_workload", workload, len);
	put_label(&out, "source_canonical_service", *service ? service : workload, *service ? strlen(service) : len);
	put(&out, "source_canonical_revision", *revision ? revision : "latest");
	put(&out, "source_workload_namespace", pod->namespace_name);
	put(&out, "source_principal", "");
	put(&out, "source_app", label(pod, "app"));
	put(&out, "source_version", label(pod, "version"));
	put(&out, "source_cluster", cluster_id);
	return strbuf_status(&out) ? NULL : strdup(strbuf_text(&out));
}
