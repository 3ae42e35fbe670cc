/* SPDX-License-Identifier: Apache-2.0 */
/* Who a stream speaks for: the Node of its first request. istiod answers with what a sidecar of that pod would get. */
#ifndef WEFT_XDS_NODE_H
#define WEFT_XDS_NODE_H

#include "base/strbuf.h"
#include "kube/pods.h"

struct xds_node {
	const struct pod *pod;        /* the one that stands for all of its namespace */
	const char *service_account;  /* "": not told */
	const char *cluster_id;       /* of istiod's cluster: "Kubernetes" as a rule */
	const char *node_name;        /* "": not told */
};

/* The serialized Node: id sidecar~IP~pod.namespace~namespace.svc.cluster.local, and the metadata that istiod reads. It is asked for plain addresses
 * (DISABLE_HBONE_SEND), since weft does not tunnel. 0 or -ENOMEM. */
int xds_node_make(const struct xds_node *node, struct strbuf *out);

#endif
