/* SPDX-License-Identifier: Apache-2.0 */
/* Metrics by workload: collects what programs and proxy counted, and says what their ids are called. */
#include <errno.h>
#include <netinet/in.h>
#include <string.h>
#include <time.h>

#include "base/cleanup.h"
#include "datapath/datapath.h"
#include "mesh/mesh.h"
#include "proxy/proxy.h"
#include "telemetry/traffic.h"
#include "worker/internal.h"
#include "weft/address_host.h"

/* ---- names ----------------------------------------------------------------------------------------------------------------------- */

struct part {
	const char *text;
	size_t len;
};

static struct part part_of(const char *text)
{
	return (struct part){ text, strlen(text) };
}

/* "name;namespace;canonical;revision;cluster", as istiod says it of an endpoint. */
static void split_workload(const char *workload, struct part parts[5])
{
	for (int i = 0; i < 5; i++) {
		size_t len = strcspn(workload, ";");

		parts[i] = (struct part){ workload, len };
		workload += len + (workload[len] == ';');
	}
}

static const struct mesh_endpoint *find_endpoint(const struct mesh *mesh, const struct mesh_cluster *cluster, const struct weft_address *wanted,
						 uint16_t port_be)
{
	const struct mesh_load_assignment *assignment = mesh_cluster_endpoints(mesh, cluster);

	for (size_t i = 0; assignment && i < assignment->locality_count; i++) {
		const struct mesh_locality *locality = &assignment->localities[i];

		for (size_t j = 0; j < locality->endpoint_count; j++) {
			const struct mesh_address *address = &locality->endpoints[j].address;
			struct weft_address own;

			if (address->kind != MESH_ADDRESS_IP || address->port != ntohs(port_be))
				continue;
			own = weft_address_from(address->family, address->ip);
			if (weft_address_equals(&own, wanted))
				return &locality->endpoints[j];
		}
	}
	return NULL;
}

static const char *workload_of(const struct worker *worker, const struct mesh *mesh, const struct mesh_cluster *cluster, uint32_t endpoint_id)
{
	const struct mesh_endpoint *endpoint;
	struct weft_address address;
	uint16_t port_be;

	if (!cluster || !endpoint_id || ids_endpoint_address(worker->ids, endpoint_id, &address, &port_be))
		return "";
	endpoint = find_endpoint(mesh, cluster, &address, port_be);
	return endpoint ? endpoint->workload : "";
}

/* What istiod says of the cluster; else the host in a name like outbound|80||HOST, else the name. */
static void service_of(const struct mesh_cluster *cluster, const char *cluster_name, struct part *host, struct part *name)
{
	const char *last = strrchr(cluster_name, '|');

	if (cluster && *cluster->service_host) {
		*host = part_of(cluster->service_host);
		*name = *cluster->service_name ? part_of(cluster->service_name) : (struct part){ host->text, strcspn(host->text, ".") };
	} else if (last) {
		*host = part_of(last + 1);
		*name = (struct part){ host->text, strcspn(host->text, ".") };
	} else {
		*host = *name = part_of(cluster_name);
	}
}

/* Without its last comma: source_workload="a",...,destination_cluster="b" */
static int describe(void *arg, const struct weft_traffic_key *key, struct strbuf *out)
{
	struct worker *worker = arg;
	const struct node_pod *pod = pods_find_id(worker, key->pod_id);
	const struct serving *serving = pod ? scopes_find(worker, pod->namespace_name) : NULL;
	const struct mesh *mesh = serving ? serving->mesh : NULL;
	const char *cluster_name = key->cluster_id ? ids_cluster_name(worker->ids, key->cluster_id) : NULL;
	const struct mesh_cluster *cluster = mesh && cluster_name ? mesh_find_cluster(mesh, cluster_name) : NULL;
	struct part parts[5], host, name;

	if (!pod || (key->cluster_id && !cluster_name))
		return -ENOENT;
	split_workload(workload_of(worker, mesh, cluster, key->endpoint_id), parts);
	service_of(cluster, cluster_name ? cluster_name : "", &host, &name);
	if (!parts[1].len && cluster)
		parts[1] = part_of(cluster->service_namespace);
	strbuf_append_text(out, pod->source_labels);
	put_label(out, "destination_workload", parts[0].text, parts[0].len);
	put_label(out, "destination_workload_namespace", parts[1].text, parts[1].len);
	put_label(out, "destination_principal", "", 0);
	put_label(out, "destination_app", "", 0);
	put_label(out, "destination_version", "", 0);
	put_label(out, "destination_service", host.text, host.len);
	put_label(out, "destination_canonical_service", parts[2].text, parts[2].len);
	put_label(out, "destination_canonical_revision", parts[3].len ? parts[3].text : "latest", parts[3].len ? parts[3].len : 6);
	put_label(out, "destination_service_name", name.text, name.len);
	put_label(out, "destination_service_namespace", parts[1].text, parts[1].len);
	put_label(out, "destination_cluster", parts[4].text, parts[4].len);
	if (out->size)
		out->data[--out->size] = '\0'; /* the last comma */
	return 0;
}

/* ---- what was counted -------------------------------------------------------------------------------------------------------------- */

struct look {
	struct worker *worker;
	bool is_first;
	struct weft_traffic_key old; /* forgotten afterwards: one a look */
	bool has_old;
};

static void take_kind(void *arg, const struct weft_traffic_key *key, const struct weft_traffic *record)
{
	struct look *look = arg;

	if (!traffic_look(look->worker->traffic, key, record, look->is_first))
		return;
	look->old = *key;
	look->has_old = true;
}

static void take_sums(void *arg, const struct weft_traffic_key *key, const struct weft_traffic_sums *sums)
{
	traffic_add(arg, key, sums);
}

void worker_traffic_left(struct worker *worker, const struct weft_upstream *record, uint64_t request_bytes)
{
	/* So far; sock_ops may have ended the reply before the worker did. */
	uint64_t response_bytes = WEFT_STATE(record->state) == WEFT_UPSTREAM_LENT ? 0 : record->response_bytes;
	const struct weft_traffic_key key = {
		.pod_id = record->pod_id,
		.endpoint_id = record->endpoint_id,
		.cluster_id = record->cluster_id,
		.status = response_bytes ? record->status : 0,
		.flag = WEFT_FLAG_CLIENT_GONE,
	};
	struct weft_traffic_sums sums = { .request_bytes = request_bytes, .response_bytes = response_bytes };
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	sums.duration_ns = (uint64_t)now.tv_sec * 1000000000ull + (uint64_t)now.tv_nsec - record->start_ns;
	sums.durations[weft_duration_bucket(sums.duration_ns)] = 1;
	sums.requests[WEFT_SIZE_FIRST + weft_size_bucket(request_bytes)] = 1;
	sums.responses[response_bytes ? WEFT_SIZE_FIRST + weft_size_bucket(response_bytes) : 0] = 1;
	traffic_add(worker->traffic, &key, &sums);
}

static void look_at(struct worker *worker, bool is_first)
{
	struct look look = { .worker = worker, .is_first = is_first };

	traffic_look_at_slots(worker->traffic, datapath_upstreams(worker->datapath), datapath_slot_traffic(worker->datapath), WEFT_UPSTREAMS_MAX, is_first);
	(void)datapath_traffic_each(worker->datapath, take_kind, &look);
	if (look.has_old) {
		struct weft_traffic last;
		int r = datapath_traffic_forget(worker->datapath, &look.old, &last);

		/* What was counted since the look above. */
		traffic_forget(worker->traffic, &look.old, r ? NULL : &last);
	}
	proxy_traffic(worker->proxy, take_sums, worker->traffic);
}

void worker_traffic_look(struct worker *worker)
{
	/* One reader: what replaced this one, which would take a record that is forgotten here for one that grew. */
	if (__atomic_load_n(&worker->state->is_replaced, __ATOMIC_RELAXED))
		return;
	/* They may be others by now: what is asked for once a second is cheap. */
	traffic_names_changed(worker->traffic);
	look_at(worker, false);
}

int worker_traffic_start(struct worker *worker)
{
	const struct traffic_options options = { .series_max = WORKER_SERIES_MAX, .describe = describe, .arg = worker };
	int r = traffic_new(&worker->traffic, &options);

	if (r)
		return r;
	look_at(worker, true);
	return 0;
}

int worker_traffic_write(struct worker *worker, bool is_openmetrics, struct strbuf *out)
{
	worker_traffic_look(worker);
	return traffic_write(worker->traffic, is_openmetrics, out);
}
