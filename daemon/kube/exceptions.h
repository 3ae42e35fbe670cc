/* SPDX-License-Identifier: Apache-2.0 */
/* What annotations of a pod (traffic.sidecar.istio.io/) keep of its outbound traffic out of the mesh, as rules for the kernel. */
#ifndef WEFT_KUBE_EXCEPTIONS_H
#define WEFT_KUBE_EXCEPTIONS_H

#include <stdbool.h>
#include <stddef.h>

#include "weft/exceptions.h"

struct kube_pod; /* kube/objects.h */

#define EXCEPTIONS_PREFIX "traffic.sidecar.istio.io/"

/* excludeOutboundPorts, excludeOutboundIPRanges, includeOutboundPorts and includeOutboundIPRanges, which come in this order as in Istio's iptables
 * rules. -EINVAL: `problem` says which value can't be read; -E2BIG: that there are more than WEFT_EXCEPTIONS_MAX ports and ranges. */
int exceptions_read(const struct kube_pod *pod, struct weft_exceptions *out, char *problem, size_t problem_size);
/* Whether `name`, without its prefix, is one of those that are read. */
bool exceptions_has(const char *name);
/* Nothing is left alone. */
bool exceptions_are_none(const struct weft_exceptions *exceptions);
bool exceptions_are_equal(const struct weft_exceptions *a, const struct weft_exceptions *b); /* NULL: none */
/* How many bytes of it count. */
size_t exceptions_size(const struct weft_exceptions *exceptions);

#endif
