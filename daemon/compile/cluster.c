/* SPDX-License-Identifier: Apache-2.0 */
#include "compile/cluster.h"

#include <string.h>

#define IDLE_TIMEOUT_DEFAULT_MS 3600000 /* Envoy's, of HTTP connections */

void cluster_refuse(struct judgement *judgement, enum weft_cluster_kind kind)
{
	judgement->kind = kind;
	judgement->verdict = WEFT_VERDICT_REFUSED;
}

/* ---- what a cluster asks for ----------------------------------------------------------------------------------------------------- */

static bool is_black_hole(const struct mesh *mesh, const struct mesh_cluster *cluster)
{
	const struct mesh_load_assignment *assignment = mesh_cluster_endpoints(mesh, cluster);

	return cluster->kind == MESH_CLUSTER_STATIC && (!assignment || !assignment->endpoint_count);
}

static enum weft_lb_policy policy_of(const struct mesh_cluster *cluster, struct judgement *judgement)
{
	switch (cluster->lb_policy) {
	case MESH_LB_ROUND_ROBIN: return WEFT_LB_ROUND_ROBIN;
	case MESH_LB_LEAST_REQUEST:
		if (cluster->least_request_choices > UINT8_MAX) {
			cluster_refuse(judgement, WEFT_CLUSTER_REFUSED);
			reason_add(&judgement->reason, "least request of %u choices is not supported, only of up to %u", cluster->least_request_choices,
				   UINT8_MAX);
		} else if (cluster->least_request_choices > WEFT_CHOICES_MAX) {
			judgement->verdict = WEFT_VERDICT_PROXY;
			reason_add(&judgement->reason, "least request of %u choices is more than the kernel draws (%u)",
				   cluster->least_request_choices, WEFT_CHOICES_MAX);
		}
		return WEFT_LB_LEAST_REQUEST;
	case MESH_LB_RANDOM: return WEFT_LB_RANDOM;
	case MESH_LB_RING_HASH:
	case MESH_LB_MAGLEV: return WEFT_LB_HASH;
	case MESH_LB_CLUSTER_PROVIDED:
		if (cluster->kind == MESH_CLUSTER_ORIGINAL_DST)
			return WEFT_LB_PROXY;
		cluster_refuse(judgement, WEFT_CLUSTER_REFUSED);
		reason_add(&judgement->reason, "balancing by a cluster that is not ORIGINAL_DST is not supported");
		break;
	case MESH_LB_OTHER: break;
	}
	return WEFT_LB_PROXY;
}

void cluster_remark_missing(const struct mesh_cluster *cluster, struct strbuf *reason)
{
	const struct mesh_circuit_breaker *breaker = &cluster->circuit_breaker;

	if (breaker->max_connections < 1024 || breaker->max_pending_requests < 1024)
		reason_add(reason, "circuit breaker max_connections %u, max_pending_requests %u is not enforced yet", breaker->max_connections,
			   breaker->max_pending_requests);
	if (breaker->limits_retries)
		reason_add(reason, "circuit breaker max_retries %u is not enforced yet", breaker->max_retries);
	if (cluster->outlier_detection)
		reason_add(reason, "outlier detection is not done yet");
	if (cluster->max_requests_per_connection)
		reason_add(reason, "max_requests_per_connection %u is not enforced yet", cluster->max_requests_per_connection);
	if (cluster->idle_timeout_ms && cluster->idle_timeout_ms != IDLE_TIMEOUT_DEFAULT_MS)
		reason_add(reason, "idle_timeout %lld ms is not enforced yet", (long long)cluster->idle_timeout_ms);
	if (cluster->max_connection_duration_ms)
		reason_add(reason, "max_connection_duration is not enforced yet");
	if (cluster->slow_start_ms)
		reason_add(reason, "slow start is not done yet");
}

static void judge_kind(const struct mesh *mesh, const struct mesh_cluster *cluster, struct judgement *judgement)
{
	switch (cluster->kind) {
	case MESH_CLUSTER_STATIC:
	case MESH_CLUSTER_EDS:
		judgement->kind = is_black_hole(mesh, cluster) ? WEFT_CLUSTER_BLACK_HOLE : WEFT_CLUSTER_ENDPOINTS;
		break;
	case MESH_CLUSTER_ORIGINAL_DST:
		judgement->kind = WEFT_CLUSTER_ORIGINAL_DST;
		judgement->verdict = WEFT_VERDICT_PROXY;
		reason_add(&judgement->reason, "the proxy dials the original destination");
		if (cluster->original_dst_port) {
			cluster_refuse(judgement, WEFT_CLUSTER_REFUSED);
			reason_add(&judgement->reason, "an original destination with a port of the cluster's own is not supported yet");
		}
		break;
	case MESH_CLUSTER_STRICT_DNS:
	case MESH_CLUSTER_LOGICAL_DNS: judgement->kind = WEFT_CLUSTER_ENDPOINTS; break;
	case MESH_CLUSTER_OTHER: cluster_refuse(judgement, WEFT_CLUSTER_REFUSED); break;
	}
}

void cluster_judge(const struct mesh *mesh, const struct mesh_cluster *cluster, struct judgement *judgement)
{
	*judgement = (struct judgement){ .verdict = WEFT_VERDICT_KERNEL, .reason = STRBUF_INIT };
	judge_kind(mesh, cluster, judgement);
	judgement->policy = policy_of(cluster, judgement);

	if (cluster->upstream_protocol == MESH_UPSTREAM_HTTP2) {
		cluster_refuse(judgement, WEFT_CLUSTER_REFUSED);
		reason_add(&judgement->reason, "HTTP/2 to endpoints is not supported yet");
	}
	/* What the model can't represent says so itself, with its place. */
	if (cluster->resource.reasons.count) {
		cluster_refuse(judgement, WEFT_CLUSTER_REFUSED);
		reason_add_mesh(&judgement->reason, &cluster->resource.reasons);
		return;
	}
	if (cluster->transport != MESH_TRANSPORT_RAW) {
		cluster_refuse(judgement, WEFT_CLUSTER_REFUSED);
		reason_add(&judgement->reason, "the cluster's own transport socket (TLS to its endpoints) is not supported yet");
	}
	if (cluster->upstream_protocol == MESH_UPSTREAM_OTHER) {
		cluster_refuse(judgement, WEFT_CLUSTER_REFUSED);
		reason_add(&judgement->reason, "this choice of the upstream protocol is not supported");
	}
	if (cluster->kind == MESH_CLUSTER_OTHER || cluster->lb_policy == MESH_LB_OTHER) {
		cluster_refuse(judgement, WEFT_CLUSTER_REFUSED);
		reason_add(&judgement->reason, "this type of cluster or balancing is not supported");
	}
}

/* ---- transport of an endpoint ---------------------------------------------------------------------------------------------------- */

/* The first transport match that fits decides. An endpoint of tlsMode istio is capable of mTLS and takes plaintext as well
 * (PERMISSIVE), so weft reaches it in plaintext until it speaks mTLS. Matches on other metadata (ambient's `tunnel`) only concern
 * endpoints behind internal listeners, which have no IP address. */
enum reach cluster_reach(const struct mesh_cluster *cluster, const struct mesh_endpoint *endpoint)
{
	size_t i;

	for (i = 0; i < cluster->transport_match_count; i++) {
		const struct mesh_transport_match *match = &cluster->transport_matches[i];
		bool takes_mode = *match->tls_mode && !strcmp(match->tls_mode, endpoint->tls_mode);

		if (!match->matches_all && !takes_mode) {
			if (!*match->tls_mode && match->transport == MESH_TRANSPORT_TLS)
				return REACH_TLS_ONLY;
			continue;
		}
		if (match->transport == MESH_TRANSPORT_RAW)
			return REACH_PLAIN;
		return takes_mode && !strcmp(match->tls_mode, "istio") ? REACH_MTLS_CAPABLE : REACH_TLS_ONLY;
	}
	return REACH_PLAIN;
}
