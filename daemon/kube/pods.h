/* SPDX-License-Identifier: Apache-2.0 */
/* Who is enrolled: the pods of this node, from the configuration file or from the Kubernetes API. Plain data.
 *
 * A list owns its pods and their strings. Strings are never NULL; one that was not given is "". */
#ifndef WEFT_KUBE_PODS_H
#define WEFT_KUBE_PODS_H

#include <stddef.h>
#include <stdint.h>

struct weft_exceptions; /* weft/exceptions.h */

struct pod_label {
	const char *key;
	const char *value;
};

struct pod_ip {
	int family;              /* AF_INET or AF_INET6 */
	uint8_t bytes[16];       /* network order; AF_INET uses the first 4 */
	const char *text;        /* canonical text */
};

struct pod {
	const char *name;
	const char *namespace_name;      /* "default" when not given */
	const char *service_account;     /* "default" when not given */
	const char *network_namespace;   /* path of its network namespace, as /run/netns/cli */
	uint64_t netns_inode;            /* what the path must lead to, since it is by a process that may end before the pod; 0: the path alone counts */
	const char *cgroup;              /* path of its cgroup (v2) */
	struct pod_ip *ips;              /* the first is the primary one; at least one */
	size_t ip_count;
	struct pod_label *labels;        /* sorted by key */
	size_t label_count;
	const struct weft_exceptions *exceptions; /* what of its outbound connections is left alone; NULL: nothing */
	const char *file;                /* where it was read; "" for none */
	uint32_t line, column;
};

struct pods;

int pods_new(struct pods **out);
void pods_free(struct pods **pods);

/* Copies `pod` into the list, keeping the order of calls. `ips` need only `text`. Returns 0, -ENOMEM, -EINVAL for an address that is
 * none (or no address at all), -EEXIST when the namespace and name, or an address, are already in the list. */
int pods_add(struct pods *pods, const struct pod *pod);

size_t pods_count(const struct pods *pods);
const struct pod *pods_at(const struct pods *pods, size_t index);

/* By `namespace_name` (NULL: any, if only one pod has the name) and name; NULL when there is none. */
const struct pod *pods_find(const struct pods *pods, const char *namespace_name, const char *name);
const struct pod *pods_find_ip(const struct pods *pods, int family, const void *bytes);

/* The value of a label, or NULL. */
const char *pod_label(const struct pod *pod, const char *key);

#endif
