/* SPDX-License-Identifier: Apache-2.0 */
/* What a cluster asks for, and whether weft does that. */
#ifndef WEFT_COMPILE_CLUSTER_H
#define WEFT_COMPILE_CLUSTER_H

#include "compile/report.h"

/* What the verdict on one cluster is made of. */
struct judgement {
	enum weft_cluster_kind kind;
	enum weft_verdict verdict;
	enum weft_lb_policy policy;
	struct strbuf reason;
};

/* Sets everything from the cluster alone; its endpoints are looked at later. The reason is to be released. */
void cluster_judge(const struct mesh *mesh, const struct mesh_cluster *cluster, struct judgement *judgement);

/* Answered 503 from now on. */
void cluster_refuse(struct judgement *judgement, enum weft_cluster_kind kind);

/* Limits and timers that weft does not keep yet: requests go where they should, so the cluster serves, and says what is missing. */
void cluster_remark_missing(const struct mesh_cluster *cluster, struct strbuf *reason);

enum reach { REACH_PLAIN, REACH_MTLS_CAPABLE, REACH_TLS_ONLY };

/* How an endpoint of the cluster takes connections. */
enum reach cluster_reach(const struct mesh_cluster *cluster, const struct mesh_endpoint *endpoint);

#endif
