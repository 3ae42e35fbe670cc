/* SPDX-License-Identifier: Apache-2.0 */
/* The enrolled pods of this node: what the configuration wants, what the kernel has, and the difference. A pod is served when its listener
 * stands and the proxy accepts from it; only then does the datapath begin to send its connections there. It stops the other way round. */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/log.h"
#include "base/step.h"
#include "datapath/datapath.h"
#include "kube/exceptions.h"
#include "kube/pods.h"
#include "mesh/mesh.h"
#include "pool/pool.h"
#include "proxy/proxy.h"
#include "worker/internal.h"
#include "weft/address_host.h"

#define LISTENER_BACKLOG 4096
#define DRAIN_MIN_MS 1000 /* until what the listener's queue holds is accepted */

static const char *const state_names[] = {
	[NODE_POD_WAITING] = "waiting",
	[NODE_POD_SERVING] = "serving",
	[NODE_POD_REFUSED] = "refused",
	[NODE_POD_DRAINING] = "draining",
};

const char *node_pod_state_name(enum node_pod_state state)
{
	return (size_t)state < ARRAY_SIZE(state_names) ? state_names[state] : "?";
}

static void node_pod_free(struct node_pod **pod)
{
	if (!*pod)
		return;
	free((*pod)->name);
	free((*pod)->namespace_name);
	free((*pod)->network_namespace);
	free((*pod)->cgroup);
	free((*pod)->cgroup_real);
	free((*pod)->ip);
	free((*pod)->source_labels);
	free((*pod)->exceptions);
	unmeshed_end(*pod);
	free(*pod);
	*pod = NULL;
}

/* States a new reason, and logs it if it is one: a pod that waits for an hour is one line. */
static void set_state(struct node_pod *pod, enum node_pod_state state, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
static void set_state(struct node_pod *pod, enum node_pod_state state, const char *fmt, ...)
{
	char reason[sizeof(pod->reason)];
	bool is_new;
	va_list args;

	va_start(args, fmt);
	vsnprintf(reason, sizeof(reason), fmt, args);
	va_end(args);
	is_new = state != pod->state || strcmp(reason, pod->reason) != 0;
	pod->state = state;
	memcpy(pod->reason, reason, sizeof(reason));
	if (!is_new)
		return;
	if (state == NODE_POD_SERVING || state == NODE_POD_DRAINING)
		log_info("pod %s/%s: %s%s%s", pod->namespace_name, pod->name, node_pod_state_name(state), reason[0] ? ": " : "", reason);
	else
		log_warning("pod %s/%s is not served: %s", pod->namespace_name, pod->name, reason);
}

/* ---- descriptors ----------------------------------------------------------------------------------------------------------------- */

struct search {
	enum table_kind kind;
	uint64_t cookie;
	uint32_t slot;
	struct table_entry *found;
};

static void look(void *arg, struct table_entry *entry)
{
	struct search *search = arg;

	if (entry->kind == (uint32_t)search->kind && entry->cookie == search->cookie && entry->slot == search->slot)
		search->found = entry;
}

static struct table_entry *find_entry(struct table *table, enum table_kind kind, uint64_t cookie, uint32_t slot)
{
	struct search search = { .kind = kind, .cookie = cookie, .slot = slot };

	table_each(table, look, &search);
	return search.found;
}

static int name_fd(struct table *table, int fd, enum table_kind kind, const struct node_pod *pod, uint32_t slot, struct table_entry **out)
{
	struct table_entry *entry = table_take(table, fd);

	if (!entry)
		return -ENFILE;
	entry->cookie = pod->netns_cookie;
	entry->pod_id = pod->pod_id;
	entry->slot = slot;
	table_publish(entry, kind);
	*out = entry;
	return 0;
}

static void drop_fd(struct worker *worker, int *fd, struct table_entry **entry)
{
	if (*entry)
		table_release(worker->table, *entry);
	if (*fd >= 0)
		close(*fd);
	*entry = NULL;
	*fd = -1;
}

static uint16_t port_of(int fd)
{
	union weft_sockaddr address;
	socklen_t size = sizeof(address);

	return getsockname(fd, &address.any, &size) == 0 ? ntohs(weft_sockaddr_port_be(&address)) : 0;
}

/* Which cgroup the programs were attached to: when the pod's folder was made anew while there was no worker, they hang in the air. */
static void note_cgroup(const struct node_pod *pod, struct table_entry *entry)
{
	entry->reserved[0] = (uint32_t)pod->cgroup_identity.inode;
	entry->reserved[1] = (uint32_t)((uint64_t)pod->cgroup_identity.inode >> 32);
}

static bool is_cgroup_noted(const struct node_pod *pod, const struct table_entry *entry)
{
	return ((uint64_t)entry->reserved[1] << 32 | entry->reserved[0]) == pod->cgroup_identity.inode;
}

/* The listeners of the former worker, if there were any: connections that nobody has accepted yet wait in their queues. */
static bool adopt_descriptors(struct worker *worker, struct node_pod *pod, int *netns_fd)
{
	bool is_found = false;

	pod->netns_entry = find_entry(worker->table, TABLE_NETNS, pod->netns_cookie, 0);
	for (uint32_t i = 0; i < WEFT_FAMILIES; i++) {
		struct node_listener *listener = &pod->listeners[i];

		listener->entry = find_entry(worker->table, TABLE_LISTENER, pod->netns_cookie, i);
		if (!listener->entry)
			continue;
		is_found = true;
		pod->pod_id = listener->entry->pod_id;
		listener->fd = listener->entry->fd;
		listener->port = port_of(listener->fd);
		if (!is_cgroup_noted(pod, listener->entry))
			datapath_pod_remove(worker->datapath, pod->pod_id, pod->netns_cookie);
		note_cgroup(pod, listener->entry);
	}
	if (!is_found)
		return false;
	if (pod->netns_entry) {
		close(*netns_fd);
		*netns_fd = -1;
		pod->netns_fd = pod->netns_entry->fd;
	}
	return true;
}

static int make_listener(struct worker *worker, struct node_pod *pod, enum weft_family family)
{
	struct node_listener *listener = &pod->listeners[family];
	int r;

	r = netns_listen_loopback(pod->netns_fd, family == WEFT_FAMILY_4 ? AF_INET : AF_INET6, LISTENER_PORT, LISTENER_BACKLOG, &listener->fd,
				  &listener->port);
	if (r == -ENETDOWN) {
		set_state(pod, NODE_POD_WAITING, "the loopback interface is down in %s", pod->network_namespace);
		return r;
	}
	/* Where IPv6 is off on the loopback, the rest of the pod is served. */
	if (r && family == WEFT_FAMILY_6 && pod->listeners[WEFT_FAMILY_4].entry) {
		log_warn(r, "pod %s/%s: no listener on [::1]: its connections over IPv6 are left alone", pod->namespace_name, pod->name);
		return 0;
	}
	if (r) {
		set_state(pod, NODE_POD_WAITING, "no listener in %s: %s", pod->network_namespace, strerror(-r));
		return r;
	}
	if (listener->port != LISTENER_PORT)
		log_warning("pod %s/%s: %s:%d is taken there, weft listens on port %u instead", pod->namespace_name, pod->name,
			    family == WEFT_FAMILY_4 ? "127.0.0.1" : "[::1]", LISTENER_PORT, listener->port);
	r = name_fd(worker->table, listener->fd, TABLE_LISTENER, pod, family, &listener->entry);
	if (r) {
		set_state(pod, NODE_POD_WAITING, "the table of descriptors is full (%u)", table_capacity(worker->table));
		return r;
	}
	note_cgroup(pod, listener->entry);
	step("pods: a listener made");
	return 0;
}

/* One for each family that the pod has an address of. */
static int make_listeners(struct worker *worker, struct node_pod *pod)
{
	int r = 0;

	for (enum weft_family i = 0; !r && i < WEFT_FAMILIES; i++)
		if (weft_address_is_set(&pod->addresses[i]) && !pod->listeners[i].entry)
			r = make_listener(worker, pod, i);
	return r;
}

/* Two weftds in one pod would capture each other's connections. One of another ABI that drains has its claim for as long. */
static int claim(struct worker *worker, struct node_pod *pod)
{
	int r = worker->is_stopping ? 0 : netns_claim(pod->netns_fd);
	char who[32] = "";
	pid_t other;

	if (r != -EBUSY || worker->config->is_beside || beside_has_another(worker))
		return 0;
	other = netns_claimant(pod->netns_fd);
	if (other < 0) /* no pod takes itself out of the mesh */
		return 0;
	if (other)
		snprintf(who, sizeof(who), " (process %d)", (int)other);
	set_state(pod, NODE_POD_WAITING, "another weftd%s serves it: stop that one, or take over from it (--replace, with its --control and --bpffs)", who);
	return r;
}

void pods_release_claims(struct worker *worker)
{
	for (size_t i = 0; i < worker->pods.count; i++)
		if (worker->pods.items[i]->netns_fd >= 0)
			netns_release(worker->pods.items[i]->netns_fd);
}

static int open_descriptors(struct worker *worker, struct node_pod *pod, int *netns_fd)
{
	int r;

	if (!adopt_descriptors(worker, pod, netns_fd))
		pod->pod_id = table_next_pod_id(worker->table);
	if (!pod->netns_entry) {
		pod->netns_fd = TAKE_FD(*netns_fd);
		r = name_fd(worker->table, pod->netns_fd, TABLE_NETNS, pod, 0, &pod->netns_entry);
		if (r) {
			set_state(pod, NODE_POD_WAITING, "the table of descriptors is full (%u)", table_capacity(worker->table));
			return r;
		}
	}
	r = claim(worker, pod);
	return r ? r : make_listeners(worker, pod);
}

/* ---- serving one pod ------------------------------------------------------------------------------------------------------------- */

static void stop(struct worker *worker, struct node_pod *pod)
{
	int r;

	if (pod->added)
		worker_traffic_look(worker); /* while its names are known */
	if (pod->added & ADDED_DATAPATH) {
		datapath_pod_pause(worker->datapath, pod->netns_cookie);
		r = datapath_pod_remove(worker->datapath, pod->pod_id, pod->netns_cookie);
		if (r)
			log_warn(r, "pod %s/%s: taking it out of the kernel's tables", pod->namespace_name, pod->name);
	}
	if (pod->added & ADDED_POOL)
		pool_pod_remove(worker->pool, pod->pod_id);
	if (pod->added & ADDED_PROXY)
		proxy_pod_remove(worker->proxy, pod->pod_id);
	pod->added = 0;
	unmeshed_end(pod);
	for (int i = 0; i < WEFT_FAMILIES; i++) {
		drop_fd(worker, &pod->listeners[i].fd, &pod->listeners[i].entry);
		pod->listeners[i].port = 0;
	}
	drop_fd(worker, &pod->netns_fd, &pod->netns_entry);
}

static int add_everywhere(struct worker *worker, struct node_pod *pod)
{
	struct proxy_pod proxy_pod = {
		.pod_id = pod->pod_id,
		.scope = pod->scope,
		.netns_cookie = pod->netns_cookie,
		.netns_fd = pod->netns_fd,
	};
	struct datapath_pod datapath_pod = {
		.pod_id = pod->pod_id,
		.scope = pod->scope,
		.netns_cookie = pod->netns_cookie,
		.cgroup = pod->cgroup,
		.exceptions = pod->exceptions,
	};
	int r;

	for (int i = 0; i < WEFT_FAMILIES; i++) {
		proxy_pod.addresses[i] = datapath_pod.addresses[i] = pod->addresses[i];
		proxy_pod.listener_fds[i] = pod->listeners[i].fd;
		datapath_pod.listener_ports[i] = pod->listeners[i].port;
	}
	r = proxy_pod_add(worker->proxy, &proxy_pod);
	if (r)
		return r;
	pod->added |= ADDED_PROXY;
	r = pool_pod_add(worker->pool, pod->pod_id, pod->netns_fd, pod->addresses);
	if (r)
		return r;
	pod->added |= ADDED_POOL;
	r = datapath_pod_add(worker->datapath, &datapath_pod);
	if (r)
		return r;
	pod->added |= ADDED_DATAPATH;
	return 0;
}

static const struct node_pod *find_cookie(const struct worker *worker, uint64_t cookie, const struct node_pod *but)
{
	for (size_t i = 0; i < worker->pods.count; i++) {
		const struct node_pod *pod = worker->pods.items[i];

		if (pod != but && pod->added && pod->netns_cookie == cookie)
			return pod;
	}
	return NULL;
}

static int check_surroundings(struct worker *worker, struct node_pod *pod, int *netns_fd)
{
	const struct node_pod *other;
	char complaint[sizeof(pod->reason)];
	int r;

	r = netns_open(pod->network_namespace, netns_fd);
	if (r) {
		set_state(pod, NODE_POD_WAITING, "network namespace %s: %s", pod->network_namespace,
			  r == -EINVAL ? "the path leads to something else" : strerror(-r));
		return r;
	}
	r = file_identity_of_fd(*netns_fd, &pod->netns_identity);
	if (!r && pod->netns_inode && pod->netns_identity.inode != pod->netns_inode) {
		set_state(pod, NODE_POD_WAITING, "network namespace %s: the process that it goes by has ended", pod->network_namespace);
		return -ESTALE;
	}
	if (!r)
		r = netns_cookie(*netns_fd, &pod->netns_cookie);
	if (r) {
		set_state(pod, NODE_POD_WAITING, "entering %s: %s", pod->network_namespace, strerror(-r));
		return r;
	}
	r = cgroup2_check(pod->cgroup, &pod->cgroup_identity);
	if (r == -EINVAL)
		set_state(pod, NODE_POD_WAITING, "%s is not a cgroup v2 folder (cgroup v2 is mounted at %s)", pod->cgroup, worker->config->cgroup2);
	else if (r)
		set_state(pod, NODE_POD_WAITING, "cgroup %s: %s", pod->cgroup, strerror(-r));
	if (r)
		return r;
	other = find_cookie(worker, pod->netns_cookie, pod);
	if (other) {
		set_state(pod, NODE_POD_WAITING, "its network namespace is that of pod %s/%s", other->namespace_name, other->name);
		return -EEXIST;
	}
	r = cgroup_claim(worker, pod, complaint, sizeof(complaint));
	if (r)
		set_state(pod, NODE_POD_WAITING, "%s", complaint);
	return r;
}

static void start(struct worker *worker, struct node_pod *pod)
{
	const struct serving *serving = scopes_find(worker, pod->namespace_name);
	_cleanup_close_ int netns_fd = -1;
	int r;

	if (worker->is_draining || beside_is_yielding(worker)) {
		set_state(pod, NODE_POD_WAITING, worker->is_draining ? "another weftd serves" : "another weftd begins beside this one");
		return;
	}
	if (!serving || !serving->routes || !serving->endpoints) {
		set_state(pod, NODE_POD_WAITING, "istiod has not sent all that its namespace needs yet");
		return;
	}
	pod->scope = serving->number;
	r = check_surroundings(worker, pod, &netns_fd);
	if (r)
		return;
	succession_take_over(worker);
	r = open_descriptors(worker, pod, &netns_fd);
	if (r == 0) {
		r = add_everywhere(worker, pod);
		if (r)
			set_state(pod, NODE_POD_WAITING, "enrolling it: %s", strerror(-r));
	}
	if (r) {
		stop(worker, pod);
		return;
	}
	set_state(pod, NODE_POD_SERVING, "%s", "");
	/* Those that one of another ABI captured are not to be told from others. */
	if (!beside_is_settling(worker))
		unmeshed_begin(worker, pod);
}

/* The paths still lead to what is served. That by a process says nothing once it has ended: who lists the pod knows. */
static bool is_unchanged(const struct node_pod *pod, const char **what)
{
	struct file_identity now;

	*what = pod->network_namespace;
	if (!pod->netns_inode && (file_identity_of_path(pod->network_namespace, &now) || !file_identity_is_equal(&now, &pod->netns_identity)))
		return false;
	*what = pod->cgroup;
	return file_identity_of_path(pod->cgroup, &now) == 0 && file_identity_is_equal(&now, &pod->cgroup_identity);
}

/* ---- draining -------------------------------------------------------------------------------------------------------------------- */

/* New connections are left alone; those that are open, and those that wait to be accepted, are served to their end. */
static void drain(struct worker *worker, struct node_pod *pod)
{
	datapath_pod_pause(worker->datapath, pod->netns_cookie);
	unmeshed_pause(pod);
	pod->drains_since_ms = worker_now_ms();
	set_state(pod, NODE_POD_DRAINING, "not enrolled any more: open connections go on until they end");
}

static bool is_drained(struct worker *worker, const struct node_pod *pod)
{
	const char *what;

	return !is_unchanged(pod, &what) || (worker_now_ms() - pod->drains_since_ms >= DRAIN_MIN_MS && proxy_pod_connections(worker->proxy, pod->pod_id) == 0);
}

static void remove_drained(struct worker *worker)
{
	struct node_pods *pods = &worker->pods;
	size_t kept = 0;

	for (size_t i = 0; i < pods->count; i++) {
		struct node_pod *pod = pods->items[i];

		if (pod->state != NODE_POD_DRAINING || !is_drained(worker, pod)) {
			pods->items[kept++] = pod;
			continue;
		}
		log_info("pod %s/%s: nothing of it is open any more", pod->namespace_name, pod->name);
		stop(worker, pod);
		node_pod_free(&pod);
	}
	pods->count = kept;
}

static uint32_t count_in(const struct worker *worker, enum node_pod_state state)
{
	uint32_t count = 0;

	for (size_t i = 0; i < worker->pods.count; i++)
		count += worker->pods.items[i]->state == state;
	return count;
}

uint32_t pods_serving(const struct worker *worker)
{
	return count_in(worker, NODE_POD_SERVING);
}

int pods_others(const struct worker *worker, struct strbuf *text)
{
	static const enum node_pod_state others[] = { NODE_POD_WAITING, NODE_POD_REFUSED, NODE_POD_DRAINING };

	for (size_t i = 0; i < ARRAY_SIZE(others); i++) {
		uint32_t count = count_in(worker, others[i]);

		if (count)
			strbuf_printf(text, ", %u %s", count, node_pod_state_name(others[i]));
	}
	return strbuf_status(text);
}

bool pods_are_settled(const struct worker *worker, uint32_t wanted)
{
	return kube_is_synced(worker) && (!count_in(worker, NODE_POD_WAITING) || pods_serving(worker) >= wanted);
}

bool pods_are_draining(const struct worker *worker, const char *namespace_name)
{
	for (size_t i = 0; i < worker->pods.count; i++)
		if (worker->pods.items[i]->state == NODE_POD_DRAINING && strcmp(worker->pods.items[i]->namespace_name, namespace_name) == 0)
			return true;
	return false;
}

void pods_look_again(struct worker *worker)
{
	bool may_claim = !beside_has_another(worker);

	remove_drained(worker);
	datapath_sweep(worker->datapath);
	for (size_t i = 0; i < worker->pods.count; i++) {
		struct node_pod *pod = worker->pods.items[i];
		const char *what;

		if (pod->state == NODE_POD_SERVING && !is_unchanged(pod, &what)) {
			stop(worker, pod);
			set_state(pod, NODE_POD_WAITING, "%s is gone or was replaced", what);
		}
		/* Again: one that drains beside this one may have given back what they had together. */
		if (pod->state == NODE_POD_SERVING && may_claim && claim(worker, pod))
			stop(worker, pod);
		if (pod->state == NODE_POD_WAITING)
			start(worker, pod);
	}
	unmeshed_keep(worker);
}

/* ---- the list -------------------------------------------------------------------------------------------------------------------- */

/* The first of each family. */
static void addresses_of(const struct pod *pod, struct weft_address out[WEFT_FAMILIES])
{
	memset(out, 0, WEFT_FAMILIES * sizeof(*out));
	for (size_t i = 0; i < pod->ip_count; i++) {
		const struct weft_address address = weft_address_from(pod->ips[i].family, pod->ips[i].bytes);
		struct weft_address *known = &out[weft_address_family(&address)];

		if (!weft_address_is_set(known))
			*known = address;
	}
}

static int node_pod_new(const struct pod *pod, const char *cluster_id, struct node_pod **out)
{
	_cleanup_(node_pod_free) struct node_pod *new = calloc(1, sizeof(*new));

	if (!new)
		return -ENOMEM;
	new->netns_fd = new->listeners[WEFT_FAMILY_4].fd = new->listeners[WEFT_FAMILY_6].fd = -1;
	addresses_of(pod, new->addresses);
	new->name = strdup(pod->name);
	new->namespace_name = strdup(pod->namespace_name);
	new->network_namespace = strdup(pod->network_namespace);
	new->cgroup = strdup(pod->cgroup);
	new->ip = strdup(pod->ip_count ? pod->ips[0].text : "");
	new->source_labels = source_labels(pod, cluster_id);
	if (!new->name || !new->namespace_name || !new->network_namespace || !new->cgroup || !new->ip || !new->source_labels)
		return -ENOMEM;
	new->netns_inode = pod->netns_inode;
	*out = TAKE_PTR(new);
	return 0;
}

static bool is_same(const struct node_pod *have, const struct pod *want)
{
	struct weft_address addresses[WEFT_FAMILIES];

	addresses_of(want, addresses);
	if (have->netns_inode != want->netns_inode || (!have->netns_inode && strcmp(have->network_namespace, want->network_namespace) != 0))
		return false;
	return strcmp(have->name, want->name) == 0 && strcmp(have->namespace_name, want->namespace_name) == 0 && strcmp(have->cgroup, want->cgroup) == 0 &&
	       memcmp(have->addresses, addresses, sizeof(addresses)) == 0;
}

static struct node_pod *find_same(const struct worker *worker, const struct pod *want)
{
	for (size_t i = 0; i < worker->pods.count; i++) {
		if (is_same(worker->pods.items[i], want))
			return worker->pods.items[i];
	}
	return NULL;
}

static int append(struct node_pods *pods, struct node_pod *pod)
{
	if (pods->count == pods->capacity) {
		size_t capacity = pods->capacity ? pods->capacity * 2 : 16;
		struct node_pod **items = reallocarray(pods->items, capacity, sizeof(*items));

		if (!items)
			return -ENOMEM;
		pods->items = items;
		pods->capacity = capacity;
	}
	pods->items[pods->count++] = pod;
	return 0;
}

/* Another process of the same network namespace stands for it. */
static int follow_process(struct node_pod *pod, const struct pod *want)
{
	char *path;

	if (strcmp(pod->network_namespace, want->network_namespace) == 0)
		return 0;
	path = strdup(want->network_namespace);
	if (!path)
		return -ENOMEM;
	free(pod->network_namespace);
	pod->network_namespace = path;
	return 0;
}

/* Connections that are open stay as they are. */
static int follow_exceptions(struct worker *worker, struct node_pod *pod, const struct pod *want)
{
	_cleanup_free_ struct weft_exceptions *copy = NULL;
	int r;

	if (exceptions_are_equal(pod->exceptions, want->exceptions))
		return 0;
	if (want->exceptions) {
		copy = malloc(sizeof(*copy));
		if (!copy)
			return -ENOMEM;
		*copy = *want->exceptions;
	}
	if (pod->added & ADDED_DATAPATH) {
		r = datapath_pod_except(worker->datapath, pod->pod_id, pod->netns_cookie, copy);
		if (r) {
			/* The next time that pods are applied it is tried again; the other pods don't wait for this one. */
			log_err(r, "pod %s/%s: its new exceptions of traffic", pod->namespace_name, pod->name);
			return 0;
		}
	}
	free(pod->exceptions);
	pod->exceptions = TAKE_PTR(copy);
	return 0;
}

static int add_new(struct worker *worker, const struct pods *pods)
{
	for (size_t i = 0; i < pods_count(pods); i++) {
		const struct pod *want = pods_at(pods, i);
		struct node_pod *pod = find_same(worker, want);
		int r;

		if (!pod) {
			r = node_pod_new(want, worker->config->options->xds_cluster_id, &pod);
			if (r)
				return r;
			r = append(&worker->pods, pod);
			if (r) {
				node_pod_free(&pod);
				return r;
			}
		}
		pod->is_configured = true;
		r = follow_process(pod, want);
		if (!r)
			r = follow_exceptions(worker, pod, want);
		if (r)
			return r;
	}
	return 0;
}

static void remove_gone(struct worker *worker)
{
	struct node_pods *pods = &worker->pods;
	size_t kept = 0;

	for (size_t i = 0; i < pods->count; i++) {
		struct node_pod *pod = pods->items[i];

		if (!pod->is_configured && pod->netns_inode && pod->state == NODE_POD_SERVING)
			drain(worker, pod);
		if (pod->is_configured || pod->state == NODE_POD_DRAINING) {
			pods->items[kept++] = pod;
			continue;
		}
		log_info("pod %s/%s: not in the configuration any more", pod->namespace_name, pod->name);
		stop(worker, pod);
		node_pod_free(&pod);
	}
	pods->count = kept;
}

/* Whether its mesh lets pods in at all, and whether this one has what weft needs. */
static void judge(struct worker *worker, struct node_pod *pod, size_t index)
{
	const struct serving *serving = scopes_find(worker, pod->namespace_name);
	bool was_refused = pod->state == NODE_POD_REFUSED;
	char policy[sizeof(pod->reason)] = "";

	if (serving && serving->mesh)
		compile_inbound_policy(serving->mesh, policy, sizeof(policy));
	if (pod->state == NODE_POD_DRAINING && !pod->is_configured)
		return;
	if (policy[0] || !pod->ip[0] || index >= WEFT_PODS_MAX) {
		stop(worker, pod);
		if (policy[0])
			set_state(pod, NODE_POD_REFUSED, "%s", policy);
		else if (!pod->ip[0])
			set_state(pod, NODE_POD_REFUSED, "it has no IP address");
		else
			set_state(pod, NODE_POD_REFUSED, "more than %u pods on this node", WEFT_PODS_MAX);
		if (!was_refused)
			kube_report_refusal(worker, pod);
		return;
	}
	if (pod->state == NODE_POD_DRAINING && pod->is_configured && !worker->is_draining) {
		datapath_pod_resume(worker->datapath, pod->netns_cookie);
		unmeshed_resume(worker, pod);
		set_state(pod, NODE_POD_SERVING, "%s", "");
	}
	if (pod->state == NODE_POD_WAITING || pod->state == NODE_POD_REFUSED)
		start(worker, pod);
}

void pods_judge_scope(struct worker *worker, const struct serving *serving)
{
	for (size_t i = 0; i < worker->pods.count; i++)
		if (scopes_find(worker, worker->pods.items[i]->namespace_name) == serving)
			judge(worker, worker->pods.items[i], i);
	unmeshed_keep(worker);
}

int pods_apply(struct worker *worker, const struct pods *pods)
{
	int r;

	for (size_t i = 0; i < worker->pods.count; i++)
		worker->pods.items[i]->is_configured = false;
	r = add_new(worker, pods);
	if (r)
		return r;
	remove_gone(worker);
	for (size_t i = 0; i < worker->pods.count; i++)
		judge(worker, worker->pods.items[i], i);
	unmeshed_keep(worker);
	return 0;
}

void pods_pause(struct worker *worker)
{
	for (size_t i = 0; i < worker->pods.count; i++) {
		if (worker->pods.items[i]->added & ADDED_DATAPATH)
			datapath_pod_pause(worker->datapath, worker->pods.items[i]->netns_cookie);
	}
	pods_release_claims(worker);
}

void pods_release(struct worker *worker)
{
	for (size_t i = 0; i < worker->pods.count; i++)
		node_pod_free(&worker->pods.items[i]);
	free(worker->pods.items);
	worker->pods = (struct node_pods){ 0 };
}

const struct node_pod *pods_find_id(const struct worker *worker, uint32_t pod_id)
{
	for (size_t i = 0; i < worker->pods.count; i++) {
		if (worker->pods.items[i]->added && worker->pods.items[i]->pod_id == pod_id)
			return worker->pods.items[i];
	}
	return NULL;
}

const struct node_pod *pods_find_name(const struct worker *worker, const char *name)
{
	const char *slash = strchr(name, '/');
	size_t namespace_len = slash ? (size_t)(slash - name) : 0;

	for (size_t i = 0; i < worker->pods.count; i++) {
		const struct node_pod *pod = worker->pods.items[i];

		if (strcmp(pod->name, slash ? slash + 1 : name) != 0)
			continue;
		if (!slash || (strlen(pod->namespace_name) == namespace_len && strncmp(pod->namespace_name, name, namespace_len) == 0))
			return pod;
	}
	return NULL;
}
