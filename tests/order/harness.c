// SPDX-License-Identifier: Apache-2.0
#include "harness.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "compile/compile.h"
#include "mesh/mesh.h"
#include "weft/address_host.h"

#define LISTENER_PORT 15001
#ifndef SO_NETNS_COOKIE
#define SO_NETNS_COOKIE 71
#endif

#define must(condition) \
	do { \
		if (!(condition)) { \
			fprintf(stderr, "%s:%d: %s: %s\n", __FILE__, __LINE__, #condition, strerror(errno)); \
			abort(); \
		} \
	} while (0)

static const char config[] =
	"pods:\n"
	"  - {name: pod, namespace: default, ip: " POD_IP ", network_namespace: /proc/self/ns/net, cgroup: /sys/fs/cgroup, labels: {}}\n"
	"resources:\n"
	"  - '@type': type.googleapis.com/envoy.config.listener.v3.Listener\n"
	"    name: 0.0.0.0_80\n"
	"    address: {socket_address: {address: 0.0.0.0, port_value: 80}}\n"
	"    filter_chains:\n"
	"      - filters:\n"
	"          - name: envoy.filters.network.http_connection_manager\n"
	"            typed_config:\n"
	"              '@type': type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager\n"
	"              stat_prefix: outbound\n"
	"              rds: {config_source: {ads: {}}, route_config_name: '80'}\n"
	"              http_filters:\n"
	"                - name: envoy.filters.http.router\n"
	"                  typed_config: {'@type': type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}\n"
	"  - '@type': type.googleapis.com/envoy.config.route.v3.RouteConfiguration\n"
	"    name: '80'\n"
	"    virtual_hosts:\n"
	"      - {name: local, domains: [local], routes: [{match: {prefix: /}, route: {cluster: local}}]}\n"
	"      - {name: other, domains: [other], routes: [{match: {prefix: /}, route: {cluster: other}}]}\n"
	"      - {name: direct, domains: [direct], routes: [{match: {prefix: /}, direct_response: {status: 200, body: {inline_string: hello}}}]}\n"
	"  - '@type': type.googleapis.com/envoy.config.listener.v3.Listener\n"
	"    name: 0.0.0.0_81\n"
	"    address: {socket_address: {address: 0.0.0.0, port_value: 81}}\n"
	"    filter_chains:\n"
	"      - filters:\n"
	"          - name: envoy.filters.network.http_connection_manager\n"
	"            typed_config:\n"
	"              '@type': type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager\n"
	"              stat_prefix: outbound\n"
	"              rds: {config_source: {ads: {}}, route_config_name: '81'}\n"
	"              http_filters:\n"
	"                - name: envoy.filters.http.router\n"
	"                  typed_config: {'@type': type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}\n"
	"  - '@type': type.googleapis.com/envoy.config.route.v3.RouteConfiguration\n"
	"    name: '81'\n"
	"    virtual_hosts:\n"
	"      - {name: local, domains: [local], routes: [{match: {prefix: /}, route: {cluster: other}}]}\n"
	"  - {'@type': type.googleapis.com/envoy.config.cluster.v3.Cluster, name: local, type: STATIC, load_assignment: {cluster_name: local,\n"
	"     endpoints: [{lb_endpoints: [{endpoint: {address: {socket_address: {address: " POD_IP ", port_value: 8080}}}}]}]}}\n"
	"  - {'@type': type.googleapis.com/envoy.config.cluster.v3.Cluster, name: other, type: STATIC, load_assignment: {cluster_name: other,\n"
	"     endpoints: [{lb_endpoints: [{endpoint: {address: {socket_address: {address: " OTHER_IP ", port_value: 8080}}}}]}]}}\n";

static void write_file(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

	must(fd >= 0);
	must(write(fd, text, strlen(text)) == (ssize_t)strlen(text));
	close(fd);
}

/* A network namespace of its own with lo up and the two addresses on it. */
static void namespace_enter(void)
{
	must(!unshare(CLONE_NEWNET));
	must(!system("ip link set lo up && ip addr add " POD_IP "/32 dev lo && ip addr add " OTHER_IP "/32 dev lo && "
		     "ip route add " SERVICE_IP "/32 dev lo"));
}

static void cgroup_enter(struct harness *h)
{
	char line[512], path[300];
	FILE *mounts = fopen("/proc/mounts", "re");

	must(mounts);
	h->cgroup[0] = 0;
	while (fgets(line, sizeof(line), mounts)) {
		char mount[200], type[32];

		if (sscanf(line, "%*s %199s %31s", mount, type) == 2 && !strcmp(type, "cgroup2"))
			snprintf(h->cgroup, sizeof(h->cgroup), "%s/weft-order-%d", mount, getpid());
	}
	fclose(mounts);
	must(h->cgroup[0]);
	must(!mkdir(h->cgroup, 0755));
	snprintf(path, sizeof(path), "%s/cgroup.procs", h->cgroup);
	write_file(path, "0");
}

static int listen_on(const char *ip, uint16_t port)
{
	struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port)};
	int one = 1, fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	inet_pton(AF_INET, ip, &address.sin_addr);
	must(fd >= 0 && !setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one)));
	must(!bind(fd, (struct sockaddr *)&address, sizeof(address)) && !listen(fd, 64));
	return fd;
}

/* Which endpoint has this address. It is marked as one of a cluster that is balanced by load: its requests are counted. */
static uint32_t endpoint_prepare(struct image *image, const char *ip)
{
	struct weft_image_handle handle = {.base = image->base, .size = image->size_bytes};
	const struct weft_image_header *header = (const void *)image->base;
	struct weft_address address;

	must(weft_address_parse(ip, &address));
	for (uint32_t id = 0; id < header->cluster_count; id++) {
		weft_ref ref = weft_find_cluster(&handle, id);
		const struct weft_cluster *cluster = ref ? weft_at(&handle, ref) : NULL;
		struct weft_endpoint *endpoint = cluster && cluster->endpoint_count ? (void *)(image->base + cluster->endpoints) : NULL;

		if (endpoint && weft_address_equals(&endpoint->address, &address)) {
			endpoint->flags |= WEFT_ENDPOINT_BY_LOAD;
			return endpoint->id;
		}
	}
	must(!"endpoint");
	return 0;
}

static struct mesh *read_config(const char *text)
{
	char path[64];
	struct mesh_report report;
	struct mesh *mesh = NULL;

	snprintf(path, sizeof(path), "/tmp/weft-order-%d.yaml", getpid());
	write_file(path, text);
	must(!mesh_load_file(path, &mesh, &report));
	unlink(path);
	return mesh;
}

static void publish_routes(struct harness *h, struct mesh *mesh)
{
	struct image *image = NULL;

	must(!compile_routes(mesh, h->ids, &image, NULL));
	must(!datapath_publish(h->dp, 0, image));
	image_free(&image);
}

void harness_route(struct harness *h, const char *routes)
{
	static const char usual[] = "{match: {prefix: /}, route: {cluster: local}}";
	const char *at = strstr(config, usual);
	struct mesh *mesh;
	char *text;

	must(at && asprintf(&text, "%.*s%s%s", (int)(at - config), config, routes ? routes : usual, at + strlen(usual)) > 0);
	mesh = read_config(text);
	free(text);
	publish_routes(h, mesh);
	mesh_free(&mesh);
}

static void configure(struct harness *h)
{
	struct mesh *mesh = read_config(config);
	struct image *image = NULL;

	must(!ids_new(&h->ids, NULL));
	publish_routes(h, mesh);
	must(!compile_endpoints(mesh, NULL, h->ids, &image, NULL));
	h->local_endpoint = endpoint_prepare(image, POD_IP);
	h->other_endpoint = endpoint_prepare(image, OTHER_IP);
	must(!datapath_publish(h->dp, 0, image));
	image_free(&image);
	mesh_free(&mesh);
}

int harness_start(struct harness *h, enum weft_fast_path mode)
{
	struct datapath_options options = {.bpffs = h->bpffs, .fast_path = mode};
	struct datapath_pod pod = {.pod_id = 1, .listener_ports = {LISTENER_PORT}, .cgroup = h->cgroup};
	socklen_t len = sizeof(pod.netns_cookie);

	memset(h, 0, sizeof(*h));
	namespace_enter();
	cgroup_enter(h);
	snprintf(h->bpffs, sizeof(h->bpffs), "/sys/fs/bpf/weft-order-%d", getpid());
	must(!datapath_new(&h->dp, &options));
	datapath_set_date(h->dp, "date: Sun, 22 Nov 2026 01:13:34 GMT\r\n");
	h->listener = listen_on("127.0.0.1", LISTENER_PORT);
	h->local_listener = listen_on(POD_IP, SERVER_PORT);
	h->other_listener = listen_on(OTHER_IP, SERVER_PORT);
	must(!getsockopt(h->listener, SOL_SOCKET, SO_NETNS_COOKIE, &pod.netns_cookie, &len));
	h->netns_cookie = pod.netns_cookie;
	must(weft_address_parse(POD_IP, &pod.addresses[WEFT_FAMILY_4]));
	configure(h);
	must(!datapath_pod_add(h->dp, &pod));
	return 0;
}

void harness_stop(struct harness *h)
{
	char procs[300], parent[300];

	datapath_free(&h->dp);
	datapath_uninstall(h->bpffs);
	ids_free(&h->ids);
	close(h->listener);
	close(h->local_listener);
	close(h->other_listener);
	snprintf(parent, sizeof(parent), "%s", h->cgroup);
	*strrchr(parent, '/') = 0;
	snprintf(procs, sizeof(procs), "%.280s/cgroup.procs", parent);
	write_file(procs, "0");
	rmdir(h->cgroup);
}

static int connect_to(const char *ip, uint16_t port, int fd)
{
	struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port)};

	inet_pton(AF_INET, ip, &address.sin_addr);
	return connect(fd, (struct sockaddr *)&address, sizeof(address));
}

static uint64_t cookie_of(int fd)
{
	uint64_t cookie = 0;
	socklen_t len = sizeof(cookie);

	must(!getsockopt(fd, SOL_SOCKET, SO_COOKIE, &cookie, &len));
	return cookie;
}

void reads_wait(int fd, bool waits)
{
	int flags = fcntl(fd, F_GETFL);

	must(flags >= 0 && !fcntl(fd, F_SETFL, waits ? flags & ~O_NONBLOCK : flags | O_NONBLOCK));
}

static void client_connect(struct harness *h, struct client *client, int flags)
{
	struct weft_connection connection;
	struct sockaddr_in peer;
	socklen_t len = sizeof(peer);
	uint64_t cookie;
	int one = 1;

	struct pollfd connected = {.events = POLLOUT};

	client->fd = connected.fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | flags, 0);
	must(client->fd >= 0 && (!connect_to(SERVICE_IP, 80, client->fd) || errno == EINPROGRESS) && poll(&connected, 1, 1000) == 1);
	setsockopt(client->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	client->anchor = accept4(h->listener, (struct sockaddr *)&peer, &len, SOCK_CLOEXEC);
	must(client->anchor >= 0);
	client->cookie = cookie_of(client->fd);
	must(!datapath_connection_find(h->dp, h->netns_cookie, &WEFT_IP4(peer.sin_addr.s_addr), peer.sin_port, &cookie, &connection));
	must(cookie == client->cookie);
}

void client_connect_anew(struct harness *h, struct client *client, uint16_t port)
{
	struct pollfd connected = {.fd = client->fd, .events = POLLOUT};
	struct sockaddr none = {.sa_family = AF_UNSPEC};

	must(!connect(client->fd, &none, sizeof(none)));
	must((!connect_to(SERVICE_IP, port, client->fd) || errno == EINPROGRESS) && poll(&connected, 1, 10000) == 1);
	close(client->anchor);
	client->anchor = accept4(h->listener, NULL, NULL, SOCK_CLOEXEC);
	must(client->anchor >= 0);
}

void client_open(struct harness *h, struct client *client)
{
	client_connect(h, client, SOCK_NONBLOCK);
}

void client_open_waiting(struct harness *h, struct client *client)
{
	client_connect(h, client, 0);
}

void client_close(struct client *client)
{
	close(client->fd);
	close(client->anchor);
}

static void link_dial(struct harness *h, uint32_t endpoint_id, struct link *link, int flags)
{
	bool is_local = endpoint_id == h->local_endpoint;
	struct weft_upstream *slot;
	struct weft_pool *pool;
	int one = 1, sndbuf = 8 << 20;

	link->slot = h->next_slot++;
	slot = &datapath_upstreams(h->dp)[link->slot];
	pool = &datapath_pools(h->dp)[h->next_pool];
	link->upstream = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	must(link->upstream >= 0);
	slot->cookie = cookie_of(link->upstream);
	slot->pod_id = 1;
	slot->endpoint_id = endpoint_id;
	slot->pool = h->next_pool;
	slot->pool_position = 0;
	slot->state = WEFT_STATE_WORD(0, WEFT_UPSTREAM_DIALLING);
	pool->pod_id = 1;
	pool->endpoint_id = endpoint_id;
	pool->slots[0] = link->slot + 1;
	must(!datapath_upstream_mark(h->dp, link->upstream, link->slot, 1));
	must(!connect_to(is_local ? POD_IP : OTHER_IP, SERVER_PORT, link->upstream));
	setsockopt(link->upstream, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	setsockopt(link->upstream, SOL_SOCKET, SO_SNDBUFFORCE, &sndbuf, sizeof(sndbuf));
	link->server = accept4(is_local ? h->local_listener : h->other_listener, NULL, NULL, SOCK_CLOEXEC | flags);
	must(link->server >= 0);
	setsockopt(link->server, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	must(!datapath_upstream_insert(h->dp, link->upstream, slot->cookie));
	must(!datapath_pool_index_set(h->dp, 1, endpoint_id, h->next_pool));
	__atomic_store_n(&slot->state, WEFT_STATE_WORD(0, WEFT_UPSTREAM_IDLE), __ATOMIC_SEQ_CST);
	__atomic_fetch_or(&pool->idle[0], 1, __ATOMIC_SEQ_CST);
	h->next_pool++;
}

void link_open(struct harness *h, uint32_t endpoint_id, struct link *link)
{
	link_dial(h, endpoint_id, link, SOCK_NONBLOCK);
}

void link_open_waiting(struct harness *h, uint32_t endpoint_id, struct link *link)
{
	link_dial(h, endpoint_id, link, 0);
}

struct weft_upstream *link_slot(struct harness *h, const struct link *link)
{
	return &datapath_upstreams(h->dp)[link->slot];
}

void link_close(struct harness *h, struct link *link)
{
	struct weft_upstream *slot = link_slot(h, link);

	if (link->upstream >= 0)
		close(link->upstream);
	if (link->server >= 0)
		close(link->server);
	datapath_pool_index_delete(h->dp, 1, slot->endpoint_id);
	slot->cookie = 0;
	slot->state = 0;
}

long say(int fd, const char *text)
{
	long n = send(fd, text, strlen(text), MSG_NOSIGNAL);

	return n < 0 ? -errno : n;
}

size_t hear(int fd, char *buffer, size_t size, int wait_ms)
{
	struct pollfd poll_fd = {.fd = fd, .events = POLLIN};
	size_t n = 0;

	while (n + 1 < size && poll(&poll_fd, 1, wait_ms) == 1) {
		ssize_t r = recv(fd, buffer + n, size - 1 - n, MSG_DONTWAIT);

		if (r <= 0)
			break;
		n += (size_t)r;
		wait_ms = 20;
	}
	buffer[n] = 0;
	return n;
}

struct weft_connection_command command(struct harness *h, const struct client *client, uint32_t commands, uint32_t consumed,
				       uint32_t written, uint64_t exchange)
{
	struct weft_connection_command asked = {
		.cookie = client->cookie,
		.commands = commands,
		.proxy_consumed = consumed,
		.proxy_written = written,
		.exchange = exchange,
	};

	must(!datapath_connection_command(h->dp, &asked));
	return asked;
}

uint64_t counted(struct harness *h, uint32_t counter)
{
	uint64_t counters[WEFT_COUNTERS];

	must(!datapath_counters(h->dp, counters));
	return counters[counter];
}
