/* SPDX-License-Identifier: Apache-2.0 */
/* TcpProxy. */
#include "mesh/model.h"

#define IDLE_MS 3600000

static void clusters(struct build *b, const PbTcpProxy *message, struct mesh_tcp *tcp)
{
	const Envoy__Extensions__Filters__Network__TcpProxy__V3__TcpProxy__WeightedCluster *weighted = message->weighted_clusters;

	switch (message->cluster_specifier_case) {
	case ENVOY__EXTENSIONS__FILTERS__NETWORK__TCP_PROXY__V3__TCP_PROXY__CLUSTER_SPECIFIER_CLUSTER:
		tcp->clusters = build_new(b, struct mesh_tcp_cluster);
		if (!tcp->clusters)
			return;
		tcp->cluster_count = 1;
		tcp->clusters[0].name = build_text(b, message->cluster);
		tcp->clusters[0].weight = 1;
		tcp->total_weight = 1;
		if (!*message->cluster)
			build_refuse(b, "the name of the cluster is empty");
		return;
	case ENVOY__EXTENSIONS__FILTERS__NETWORK__TCP_PROXY__V3__TCP_PROXY__CLUSTER_SPECIFIER_WEIGHTED_CLUSTERS:
		break;
	default:
		if (!message->base.n_unknown_fields)
			build_refuse(b, "a cluster is needed: cluster or weighted_clusters");
		return;
	}

	tcp->clusters = build_array(b, struct mesh_tcp_cluster, weighted->n_clusters);
	tcp->cluster_count = tcp->clusters ? weighted->n_clusters : 0;
	if (!weighted->n_clusters)
		build_refuse(b, "weighted_clusters: a cluster is needed");
	for (size_t i = 0; i < tcp->cluster_count; i++) {
		size_t before = build_enter_index(b, "weighted_clusters.clusters", i);

		build_check_fields(b, &weighted->clusters[i]->base, MESH_EFFECT_TRAFFIC, KNOWN("name", "weight"));
		tcp->clusters[i].name = build_text(b, weighted->clusters[i]->name);
		tcp->clusters[i].weight = weighted->clusters[i]->weight;
		tcp->total_weight += weighted->clusters[i]->weight;
		if (!*weighted->clusters[i]->name || !weighted->clusters[i]->weight)
			build_refuse(b, "a name and a weight of 1 or more are needed");
		build_leave(b, before);
	}
}

struct mesh_tcp *model_tcp(struct build *b, const PbTcpProxy *message)
{
	struct mesh_tcp *tcp = build_new(b, struct mesh_tcp);

	if (!tcp)
		return NULL;
	build_check_fields(b, &message->base, MESH_EFFECT_TRAFFIC,
			   KNOWN("stat_prefix", "cluster", "weighted_clusters", "idle_timeout", "hash_policy",
				 /* logs */
				 "access_log", "access_log_flush_interval", "flush_access_log_on_connected", "access_log_options"));
	tcp->stat_prefix = build_text(b, message->stat_prefix);
	clusters(b, message, tcp);
	tcp->idle_timeout_ms = build_duration_ms(b, "idle_timeout", message->idle_timeout, IDLE_MS);
	for (size_t i = 0; i < message->n_hash_policy; i++) {
		size_t before = build_enter_index(b, "hash_policy", i);

		if (message->hash_policy[i]->policy_specifier_case == ENVOY__TYPE__V3__HASH_POLICY__POLICY_SPECIFIER_SOURCE_IP)
			tcp->hashes_source_ip = true;
		else
			build_reason(b, MESH_EFFECT_TRAFFIC, "only source_ip is supported");
		build_leave(b, before);
	}
	return tcp;
}
