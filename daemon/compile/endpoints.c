/* SPDX-License-Identifier: Apache-2.0 */
/* The endpoint image: clusters by id, each with the endpoints that get traffic now and the order of their turns. */
#include <arpa/inet.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "compile/balance.h"
#include "compile/builder.h"
#include "compile/cluster.h"
#include "compile/hash_table.h"
#include "compile/ids.h"
#include "compile/names.h"
#include "compile/priorities.h"
#include "compile/report.h"
#include "compile/share_index.h"
#include "weft/address_host.h"
#include "weft/lookup.h"

#define ENDPOINTS_MAX (BUILDER_OBJECT_MAX / sizeof(struct weft_endpoint)) /* of one cluster: they lie in one page */
#define REPEATS_SHOWN 3u /* endpoints of one kind of trouble that a reason names */

struct endpoints_compile {
	const struct mesh *mesh;
	const struct dns *dns;
	struct builder builder;
	struct ids_claim *claim;
	struct compile_report *report;
	weft_ref *directory;      /* by cluster id */
	uint32_t directory_count, directory_capacity;
	size_t hash_bytes;        /* of rings and Maglev tables */
	const struct image *former;
	size_t assignment;        /* the next one, if they come in the order of clusters */
	uint64_t *sources;        /* as the image's, directory_capacity of them */
};

static bool is_usable(const struct mesh_endpoint *endpoint)
{
	return endpoint->address.kind == MESH_ADDRESS_IP && endpoint->address.port;
}

/* ---- endpoints ------------------------------------------------------------------------------------------------------------------- */

static void remark_unusable(const struct mesh_load_assignment *assignment, struct strbuf *reason)
{
	size_t i, j, count = 0;

	for (i = 0; i < assignment->locality_count; i++) {
		const struct mesh_locality *locality = &assignment->localities[i];

		for (j = 0; j < locality->endpoint_count; j++) {
			const struct mesh_address *address = &locality->endpoints[j].address;

			if (is_usable(&locality->endpoints[j]) || count++ >= REPEATS_SHOWN)
				continue;
			reason_add(reason, "endpoint %s is left out: %s", address->text,
				   address->kind == MESH_ADDRESS_INTERNAL ? "it is behind an internal listener (HBONE), which is not supported yet" :
				   address->kind == MESH_ADDRESS_HOSTNAME ? "it is a name, not an address" : "it has no address that can be dialled");
		}
	}
	if (count > REPEATS_SHOWN)
		reason_add(reason, "and %zu more are left out", count - REPEATS_SHOWN);
}

/* Envoy keeps one host an address: the first of the assignment. */
static int drop_repeated(struct share *shares, size_t *count)
{
	_cleanup_(share_index_release) struct share_index index;
	size_t i, kept = 0;

	if (share_index_init(&index, *count))
		return -ENOMEM;
	for (i = 0; i < *count; i++) {
		uint32_t *slot = share_index_slot(&index, shares, &shares[i].endpoint->address);

		if (*slot)
			continue;
		shares[kept++] = shares[i];
		*slot = (uint32_t)kept;
	}
	*count = kept;
	return 0;
}

/* What LEAST_REQUEST has to know of an endpoint's group. One group alone needs no bounds, so that they are 0 nearly everywhere. */
static void set_groups(const struct share *shares, size_t count, struct weft_endpoint *endpoints)
{
	size_t i, first, end;

	for (first = 0; first < count; first = end) {
		uint32_t max = 0;
		bool differs = false;

		for (end = first; end < count && shares[end].group == shares[first].group; end++) {
			max = WEFT_MAX(max, endpoints[end].weight);
			differs = differs || endpoints[end].weight != endpoints[first].weight;
		}
		for (i = first; i < end; i++) {
			if (end - first < count) {
				endpoints[i].group_first = (uint32_t)first;
				endpoints[i].group_count = (uint32_t)(end - first);
			}
			if (!differs)
				continue;
			endpoints[i].flags |= WEFT_ENDPOINT_WEIGHTED;
			if (max > UINT16_MAX)
				endpoints[i].weight = WEFT_MAX((uint32_t)((uint64_t)endpoints[i].weight * UINT16_MAX / max), 1u);
		}
	}
}

static int write_endpoints(struct endpoints_compile *c, const struct mesh_cluster *source, weft_ref cluster_ref, const struct share *shares,
			   size_t count, struct judgement *judgement)
{
	struct weft_cluster *cluster = builder_at(&c->builder, cluster_ref);
	struct weft_endpoint *endpoints;
	size_t i;
	int r;

	cluster->endpoints = builder_alloc(&c->builder, count * sizeof(*endpoints));
	if (!cluster->endpoints)
		return builder_status(&c->builder);
	cluster->endpoint_count = (uint32_t)count;
	endpoints = builder_at(&c->builder, cluster->endpoints);
	for (i = 0; i < count; i++) {
		const struct mesh_endpoint *endpoint = shares[i].endpoint;

		endpoints[i].address = weft_address_from(endpoint->address.family, endpoint->address.ip);
		endpoints[i].port_be = htons(endpoint->address.port);
		endpoints[i].weight = endpoint->weight;
		if (judgement->policy == WEFT_LB_LEAST_REQUEST && count > 1)
			endpoints[i].flags |= WEFT_ENDPOINT_BY_LOAD;
		if (cluster_reach(source, endpoint) == REACH_MTLS_CAPABLE)
			endpoints[i].flags |= WEFT_ENDPOINT_MTLS_CAPABLE;
		r = ids_endpoint(c->claim, &endpoints[i].address, endpoints[i].port_be, &endpoints[i].id);
		if (r == -ENOSPC) {
			/* Without an id an endpoint has no counters and no pool. */
			cluster->endpoint_count = 0;
			cluster->schedule_len = 0;
			cluster_refuse(judgement, WEFT_CLUSTER_REFUSED);
			reason_add(&judgement->reason, "the node has no endpoint ids left");
			return 0;
		}
		if (r)
			return r;
	}
	if (source->lb_policy == MESH_LB_LEAST_REQUEST)
		set_groups(shares, count, endpoints);
	return 0;
}

static int share_hostnames(struct endpoints_compile *c, weft_ref cluster_ref, const weft_ref *refs, size_t count)
{
	struct weft_cluster *cluster = builder_at(&c->builder, cluster_ref);
	size_t i;

	cluster->hostnames = 0;
	for (i = 0; i < count && !refs[i]; i++)
		;
	if (i < count)
		cluster->hostnames = builder_share(&c->builder, refs, count * sizeof(*refs));
	return builder_status(&c->builder);
}

/* For hosts that are rewritten to them. */
static int write_hostnames(struct endpoints_compile *c, weft_ref cluster_ref, const struct share *shares, size_t count)
{
	_cleanup_free_ weft_ref *refs = calloc(count + 1, sizeof(*refs));
	size_t i;

	if (!refs)
		return -ENOMEM;
	for (i = 0; i < count; i++)
		refs[i] = *shares[i].endpoint->hostname ? builder_text(&c->builder, shares[i].endpoint->hostname) : 0;
	return share_hostnames(c, cluster_ref, refs, count);
}

static int write_schedule(struct endpoints_compile *c, weft_ref cluster_ref, const struct share *shares, size_t count)
{
	struct weft_cluster *cluster = builder_at(&c->builder, cluster_ref);
	_cleanup_free_ uint16_t *turns = NULL;
	size_t turn_count;
	int r;

	r = balance_schedule(shares, count, &turns, &turn_count);
	if (r)
		return r;
	cluster->schedule = builder_share(&c->builder, turns, turn_count * sizeof(*turns));
	cluster->schedule_len = (uint32_t)turn_count;
	return builder_status(&c->builder);
}

static int compile_members(struct endpoints_compile *c, const struct mesh_cluster *source, weft_ref cluster_ref, struct judgement *judgement)
{
	const struct mesh_load_assignment *assignment = mesh_cluster_endpoints(c->mesh, source);
	_cleanup_(arena_release) struct arena arena = ARENA_INIT;
	_cleanup_free_ struct share *shares = NULL;
	bool is_panic;
	_cleanup_(priorities_release) struct priorities priorities = { 0 };
	size_t i, count, total;
	int r;

	if (!assignment) {
		reason_add(&judgement->reason, "no load assignment has come for it yet: 503");
		return 0;
	}
	if (assignment->resource.reasons.count) {
		cluster_refuse(judgement, WEFT_CLUSTER_REFUSED);
		reason_add_mesh(&judgement->reason, &assignment->resource.reasons);
		return 0;
	}
	if (source->kind == MESH_CLUSTER_STRICT_DNS || source->kind == MESH_CLUSTER_LOGICAL_DNS) {
		r = names_resolve(c->dns, source->kind, assignment, &arena, &assignment, &judgement->reason);
		if (r)
			return r;
	}
	remark_unusable(assignment, &judgement->reason);
	shares = calloc(assignment->endpoint_count + 1, sizeof(*shares));
	if (!shares)
		return -ENOMEM;
	if (judgement->policy == WEFT_LB_HASH)
		r = hash_table_endpoints(source, assignment, is_usable, shares, &count, &is_panic);
	else
		r = balance_shares(source, assignment, is_usable, shares, &count, &is_panic);
	if (!r)
		r = drop_repeated(shares, &count);
	if (r)
		return r;
	if (is_panic)
		reason_add(&judgement->reason, "too few endpoints are healthy: all of them are used");
	if (!count) {
		reason_add(&judgement->reason, "no endpoint is healthy: 503");
		return 0;
	}
	if (count > ENDPOINTS_MAX) {
		cluster_refuse(judgement, WEFT_CLUSTER_REFUSED);
		reason_add(&judgement->reason, "%zu endpoints are more than the %zu that fit", count, ENDPOINTS_MAX);
		return 0;
	}
	for (i = 0; i < count; i++) {
		enum reach reach = cluster_reach(source, shares[i].endpoint);

		if (reach == REACH_PLAIN || (reach == REACH_MTLS_CAPABLE && !c->mesh->requires_mtls))
			continue;
		cluster_refuse(judgement, WEFT_CLUSTER_REFUSED);
		reason_add(&judgement->reason,
			   reach == REACH_TLS_ONLY ? "endpoint %s takes TLS only, which is not supported yet" :
						     "endpoint %s could take mTLS, which is not supported yet, and --require-mtls forbids plaintext",
			   shares[i].endpoint->address.text);
		return 0;
	}
	total = count;
	if (judgement->policy != WEFT_LB_HASH) {
		r = priorities_find(c->mesh, source, assignment, is_usable, ENDPOINTS_MAX, shares, &total, &priorities, &judgement->reason);
		if (r)
			return r;
	}
	r = write_endpoints(c, source, cluster_ref, shares, total, judgement);
	if (!r && judgement->verdict != WEFT_VERDICT_REFUSED)
		r = write_hostnames(c, cluster_ref, shares, total);
	if (r || judgement->verdict == WEFT_VERDICT_REFUSED)
		return r;
	if (judgement->policy == WEFT_LB_HASH)
		return hash_table_compile(&c->builder, source, assignment, shares, count, &c->hash_bytes, cluster_ref, judgement);
	if (count > WEFT_SCHEDULE_MAX && !balance_is_even(shares, count))
		reason_add(&judgement->reason, "weights of %zu endpoints are not looked at: there are %u turns", count, WEFT_SCHEDULE_MAX);
	r = write_schedule(c, cluster_ref, shares, count);
	return r ? r : priorities_write(&c->builder, &priorities, cluster_ref);
}

/* ---- clusters -------------------------------------------------------------------------------------------------------------------- */

static int directory_set(struct endpoints_compile *c, uint32_t id, weft_ref ref, uint64_t source)
{
	if (id >= c->directory_capacity) {
		uint32_t capacity = c->directory_capacity ? c->directory_capacity : 64;
		uint64_t *sources;
		weft_ref *grown;

		while (capacity <= id)
			capacity *= 2;
		grown = reallocarray(c->directory, capacity, sizeof(*grown));
		if (!grown)
			return -ENOMEM;
		memset(grown + c->directory_capacity, 0, (capacity - c->directory_capacity) * sizeof(*grown));
		c->directory = grown;
		sources = reallocarray(c->sources, capacity, sizeof(*sources));
		if (!sources)
			return -ENOMEM;
		memset(sources + c->directory_capacity, 0, (capacity - c->directory_capacity) * sizeof(*sources));
		c->sources = sources;
		c->directory_capacity = capacity;
	}
	c->directory[id] = ref;
	c->sources[id] = source;
	if (id >= c->directory_count)
		c->directory_count = id + 1;
	return 0;
}

/* ---- taking over ----------------------------------------------------------------------------------------------------------------- */

/* Everything that a cluster is made of, or 0 where that is more than its own resources: what DNS answers, what other hash tables leave. */
static uint64_t source_of(struct endpoints_compile *c, const struct mesh_cluster *source)
{
	const struct mesh_load_assignment *assignment = mesh_next_endpoints(c->mesh, source, &c->assignment);
	bool is_inline = assignment && assignment == source->load_assignment;
	uint64_t members = !assignment ? 1 : is_inline ? 2 : assignment->resource.content_hash;

	if ((source->kind != MESH_CLUSTER_EDS && source->kind != MESH_CLUSTER_STATIC) || !source->resource.content_hash || !members)
		return 0;
	return (source->resource.content_hash * 0x9e3779b97f4a7c15ull ^ members) | 1;
}

static const struct weft_cluster *former_cluster(const struct endpoints_compile *c, uint32_t id, uint64_t source)
{
	const struct image *former = c->former;
	const struct weft_image_header *header;
	const struct weft_cluster *cluster;
	const weft_ref *directory;

	if (!former || !source || id >= former->source_count || former->sources[id] != source)
		return NULL;
	header = (const void *)former->base;
	directory = (const void *)(former->base + header->cluster_directory);
	cluster = (const void *)(former->base + directory[id]);
	/* A refusal may be for want of ids, and tables have a budget in common; several priorities are rare. */
	return cluster->verdict == WEFT_VERDICT_REFUSED || cluster->policy == WEFT_LB_HASH || cluster->priority_count ? NULL : cluster;
}

static weft_ref take_text(struct endpoints_compile *c, weft_ref ref)
{
	const struct weft_text *text = (const void *)(c->former->base + ref);

	return ref ? builder_share(&c->builder, text, sizeof(*text) + text->len) : 0;
}

static int take_hostnames(struct endpoints_compile *c, const struct weft_cluster *former, weft_ref cluster_ref)
{
	const weft_ref *had = (const void *)(c->former->base + former->hostnames);
	_cleanup_free_ weft_ref *refs = calloc(former->endpoint_count + 1, sizeof(*refs));
	uint32_t i;

	if (!refs)
		return -ENOMEM;
	for (i = 0; former->hostnames && i < former->endpoint_count; i++)
		refs[i] = take_text(c, had[i]);
	return share_hostnames(c, cluster_ref, refs, former->endpoint_count);
}

/* In the order in which compile_cluster() makes them, so that the bytes are the same. */
static int take_over(struct endpoints_compile *c, const struct mesh_cluster *source, const struct weft_cluster *former, uint64_t key)
{
	const uint8_t *base = c->former->base;
	weft_ref ref = builder_alloc(&c->builder, sizeof(*former));
	struct weft_cluster *cluster;
	int r;

	if (!ref)
		return builder_status(&c->builder);
	cluster = builder_at(&c->builder, ref);
	*cluster = *former;
	if (former->endpoints) {
		const struct weft_endpoint *endpoints = (const void *)(base + former->endpoints);

		cluster->endpoints = builder_alloc(&c->builder, former->endpoint_count * sizeof(*endpoints));
		if (!cluster->endpoints)
			return builder_status(&c->builder);
		memcpy(builder_at(&c->builder, cluster->endpoints), endpoints, former->endpoint_count * sizeof(*endpoints));
		r = ids_hold_endpoints(c->claim, endpoints, former->endpoint_count);
		if (!r)
			r = take_hostnames(c, former, ref);
		if (r)
			return r;
	}
	if (former->schedule)
		cluster->schedule = builder_share(&c->builder, base + former->schedule, former->schedule_len * sizeof(uint16_t));
	cluster->name = take_text(c, former->name);
	cluster->reason = take_text(c, former->reason);
	if (c->report) {
		const struct weft_text *reason = (const void *)(base + former->reason);
		_cleanup_free_ char *text = former->reason ? strndup((const char *)reason->bytes, reason->len) : strdup("");

		report_verdict(c->report, "cluster", source->resource.name, (enum weft_verdict)former->verdict, text ? text : "", &source->resource.place);
	}
	r = builder_status(&c->builder);
	return r ? r : directory_set(c, former->id, ref, key);
}

/* ---- one cluster ----------------------------------------------------------------------------------------------------------------- */

static int compile_cluster(struct endpoints_compile *c, const struct mesh_cluster *source)
{
	const uint64_t key = source_of(c, source);
	const struct weft_cluster *former;
	struct judgement judgement;
	struct weft_cluster *cluster;
	weft_ref ref;
	uint32_t id;
	int r;

	r = ids_cluster(c->claim, source->resource.name, &id);
	if (r == -ENOSPC) {
		report_verdict(c->report, "cluster", source->resource.name, WEFT_VERDICT_REFUSED, "the node has no cluster ids left: 503",
			       &source->resource.place);
		return 0;
	}
	if (r)
		return r;
	former = former_cluster(c, id, key);
	if (former)
		return take_over(c, source, former, key);
	ref = builder_alloc(&c->builder, sizeof(*cluster));
	if (!ref)
		return builder_status(&c->builder);
	cluster = builder_at(&c->builder, ref);
	cluster->id = id;
	cluster->connect_timeout_ms = (uint32_t)WEFT_MIN(source->connect_timeout_ms, (int64_t)UINT32_MAX);
	cluster->max_requests = source->circuit_breaker.max_requests;

	cluster_judge(c->mesh, source, &judgement);
	cluster->policy = (uint8_t)judgement.policy;
	if (source->lb_policy == MESH_LB_LEAST_REQUEST)
		cluster->choices = (uint8_t)WEFT_MIN(source->least_request_choices, (uint32_t)UINT8_MAX);
	if (judgement.kind == WEFT_CLUSTER_ENDPOINTS)
		r = compile_members(c, source, ref, &judgement);
	if (judgement.kind == WEFT_CLUSTER_ENDPOINTS || judgement.kind == WEFT_CLUSTER_ORIGINAL_DST)
		cluster_remark_missing(source, &judgement.reason);
	if (!r)
		r = strbuf_status(&judgement.reason);
	if (!r) {
		cluster->kind = (uint8_t)judgement.kind;
		cluster->verdict = (uint8_t)judgement.verdict;
		cluster->name = builder_text(&c->builder, source->resource.name);
		cluster->reason = judgement.reason.size ? builder_text(&c->builder, strbuf_text(&judgement.reason)) : 0;
		r = builder_status(&c->builder);
	}
	if (!r)
		r = directory_set(c, id, ref, key);
	report_verdict(c->report, "cluster", source->resource.name, judgement.verdict, strbuf_text(&judgement.reason), &source->resource.place);
	strbuf_release(&judgement.reason);
	return r;
}

static int compare_pointers(const void *a, const void *b)
{
	uintptr_t left = *(const uintptr_t *)a, right = *(const uintptr_t *)b;

	return left < right ? -1 : left > right;
}

/* Load assignments have no place of their own in the image: one that no cluster uses would vanish without a word. */
static int report_unused(const struct endpoints_compile *c)
{
	_cleanup_free_ uintptr_t *used = calloc(c->mesh->cluster_count + 1, sizeof(*used));
	size_t i;

	if (!used)
		return -ENOMEM;
	for (i = 0; i < c->mesh->cluster_count; i++)
		used[i] = (uintptr_t)mesh_cluster_endpoints(c->mesh, c->mesh->clusters[i]);
	qsort(used, c->mesh->cluster_count, sizeof(*used), compare_pointers);
	for (i = 0; i < c->mesh->load_assignment_count; i++) {
		const struct mesh_load_assignment *assignment = c->mesh->load_assignments[i];
		uintptr_t key = (uintptr_t)assignment;

		if (!bsearch(&key, used, c->mesh->cluster_count, sizeof(*used), compare_pointers))
			report_verdict(c->report, "load assignment", assignment->resource.name, WEFT_VERDICT_IGNORED, "no cluster uses it",
				       &assignment->resource.place);
	}
	return 0;
}

/* For requests that name their cluster. */
static int write_names(struct endpoints_compile *c)
{
	struct weft_image_header *header;
	uint32_t size = 4, mask, id, at;
	weft_ref ref;

	while (size < c->directory_count * 2)
		size *= 2;
	mask = size - 1;
	ref = builder_table(&c->builder, size, sizeof(struct weft_slot));
	if (!ref)
		return builder_status(&c->builder);
	for (id = 0; id < c->directory_count; id++) {
		const struct weft_cluster *cluster = c->directory[id] ? builder_at(&c->builder, c->directory[id]) : NULL;
		const struct weft_text *name = cluster ? builder_at(&c->builder, cluster->name) : NULL;
		struct weft_slot *slots = builder_at(&c->builder, ref);
		uint32_t hash = name ? weft_host_prefix_hash(name->bytes, name->len) : 0;

		if (!name)
			continue;
		for (at = hash & mask; slots[at].object; at = (at + 1) & mask)
			;
		slots[at] = (struct weft_slot){ hash, c->directory[id] };
	}
	header = builder_header(&c->builder);
	header->cluster_names = ref;
	header->cluster_names_mask = mask;
	return builder_status(&c->builder);
}

static int compile_all(struct endpoints_compile *c)
{
	struct weft_image_header *header = builder_header(&c->builder);
	size_t i;
	int r;

	for (i = 0; i < c->mesh->cluster_count; i++) {
		r = compile_cluster(c, c->mesh->clusters[i]);
		if (r)
			return r;
	}
	if (c->report) {
		r = report_unused(c);
		if (r)
			return r;
	}
	if (!c->directory_count)
		return 0;
	header->cluster_directory = builder_table(&c->builder, c->directory_count, sizeof(*c->directory));
	if (!header->cluster_directory)
		return builder_status(&c->builder);
	memcpy(builder_at(&c->builder, header->cluster_directory), c->directory, c->directory_count * sizeof(*c->directory));
	header->cluster_count = c->directory_count;
	return write_names(c);
}

int compile_endpoints_again(const struct mesh *mesh, const struct dns *dns, struct ids *ids, const struct image *former, struct image **out,
			    struct compile_report *report)
{
	struct endpoints_compile c = { .mesh = mesh, .dns = dns, .report = report, .former = former };
	int r;

	r = builder_init(&c.builder, WEFT_IMAGE_ENDPOINTS, 0);
	if (!r)
		r = ids_claim_new(ids, &c.claim);
	if (!r)
		r = compile_all(&c);
	if (!r)
		r = builder_finish(&c.builder, &c.claim, out);
	if (!r) {
		(*out)->sources = TAKE_PTR(c.sources);
		(*out)->source_count = c.directory_count;
	}
	ids_claim_release(&c.claim);
	builder_release(&c.builder);
	free(c.directory);
	free(c.sources);
	return r;
}

int compile_endpoints(const struct mesh *mesh, const struct dns *dns, struct ids *ids, struct image **out, struct compile_report *report)
{
	return compile_endpoints_again(mesh, dns, ids, NULL, out, report);
}
