/* SPDX-License-Identifier: Apache-2.0 */
#include "kube/sockets.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fts.h>
#include <linux/inet_diag.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <linux/sock_diag.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "kube/netns.h"
#include "weft/address_host.h"

#define ANSWER_BYTES (32u << 10)
#define PORTS 65536u
#define OPEN_STATES (1u << TCP_ESTABLISHED | 1u << TCP_SYN_SENT)

/* ---- lists ---------------------------------------------------------------------------------------------------------------------------- */

static int by_number(const void *a, const void *b)
{
	uint64_t first = *(const uint64_t *)a, second = *(const uint64_t *)b;

	return first < second ? -1 : first > second;
}

/* The cookie is the first thing in both. */
static bool has(const struct pod_sockets *sockets, uint64_t cookie)
{
	return sockets->count && bsearch(&cookie, sockets->items, sockets->count, sizeof(*sockets->items), by_number);
}

void sockets_release(struct pod_sockets *sockets)
{
	free(sockets->items);
	*sockets = (struct pod_sockets){ 0 };
}

void sockets_without(struct pod_sockets *from, const struct pod_sockets *some)
{
	size_t kept = 0;

	for (size_t i = 0; i < from->count; i++)
		if (!has(some, from->items[i].cookie))
			from->items[kept++] = from->items[i];
	from->count = kept;
}

int sockets_add(struct pod_sockets *to, const struct pod_sockets *more)
{
	struct pod_socket *items;

	if (!more->count)
		return 0;
	items = reallocarray(to->items, to->count + more->count, sizeof(*items));
	if (!items)
		return -ENOMEM;
	to->items = items;
	memcpy(items + to->count, more->items, more->count * sizeof(*items));
	to->count += more->count;
	qsort(items, to->count, sizeof(*items), by_number);
	return 0;
}

/* ---- what the kernel lists ------------------------------------------------------------------------------------------------------------ */

struct numbers {
	uint64_t *items; /* rising */
	size_t count;
};

struct listing {
	const struct weft_address *own;
	struct numbers cgroups;           /* none: all */
	struct pod_sockets sockets;
	size_t capacity;
	uint8_t listened[PORTS / 8];
};

static void listing_free(struct listing **listing)
{
	if (!*listing)
		return;
	free((*listing)->cgroups.items);
	sockets_release(&(*listing)->sockets);
	free(*listing);
}

static int append(struct listing *listing, const struct inet_diag_msg *message)
{
	struct pod_sockets *sockets = &listing->sockets;
	struct pod_socket *socket;

	if (sockets->count == listing->capacity) {
		size_t capacity = listing->capacity ? listing->capacity * 2 : 16;
		struct pod_socket *items = reallocarray(sockets->items, capacity, sizeof(*items));

		if (!items)
			return -ENOMEM;
		sockets->items = items;
		listing->capacity = capacity;
	}
	socket = &sockets->items[sockets->count++];
	socket->cookie = (uint64_t)message->id.idiag_cookie[1] << 32 | message->id.idiag_cookie[0];
	socket->family = message->idiag_family;
	_Static_assert(sizeof(socket->id) == sizeof(message->id), "the kernel's");
	memcpy(socket->id, &message->id, sizeof(socket->id));
	return 0;
}

/* A cgroup is called by the inode number of its folder. */
static int list_cgroups(const char *path, struct numbers *out)
{
	char *const paths[] = { (char *)path, NULL };
	size_t capacity = 0;
	FTSENT *entry;
	FTS *tree;
	int r = 0;

	tree = fts_open(paths, FTS_PHYSICAL | FTS_NOCHDIR | FTS_XDEV, NULL);
	if (!tree)
		return -errno;
	while (!r && (entry = fts_read(tree))) {
		if (entry->fts_info != FTS_D)
			continue;
		if (out->count == capacity) {
			uint64_t *items = reallocarray(out->items, capacity = capacity ? capacity * 2 : 8, sizeof(*items));

			if (!items)
				r = -ENOMEM;
			else
				out->items = items;
		}
		if (!r)
			out->items[out->count++] = entry->fts_statp->st_ino;
	}
	fts_close(tree);
	if (!r && !out->count)
		r = -ENOENT;
	if (!r)
		qsort(out->items, out->count, sizeof(*out->items), by_number);
	return r;
}

static bool is_of_cgroups(const struct listing *listing, const struct nlmsghdr *header)
{
	const struct inet_diag_msg *message = NLMSG_DATA(header);
	const struct rtattr *attribute = (const struct rtattr *)(message + 1);
	int left = (int)(header->nlmsg_len - NLMSG_LENGTH(sizeof(*message)));

	if (!listing->cgroups.count)
		return true;
	for (; RTA_OK(attribute, left); attribute = RTA_NEXT(attribute, left)) {
		uint64_t number;

		if (attribute->rta_type != INET_DIAG_CGROUP_ID || RTA_PAYLOAD(attribute) != sizeof(number))
			continue;
		memcpy(&number, RTA_DATA(attribute), sizeof(number));
		return bsearch(&number, listing->cgroups.items, listing->cgroups.count, sizeof(number), by_number);
	}
	return false;
}

bool address_is_never_meshed(const struct weft_address *address)
{
	uint32_t ip4 = ntohl(address->be[3]), first = ntohl(address->be[0]);

	if (weft_address_is_ip4(address))
		return ip4 >> 24 == 127 || ip4 >> 16 == 0xa9fe || ip4 >> 28 >= 0xe || !ip4;
	if (!address->be[0] && !address->be[1] && !address->be[2])
		return true;
	return first >> 22 == 0xfe80 >> 6 || first >> 24 == 0xff;
}

static bool is_elsewhere(const struct listing *listing, const struct weft_address *peer)
{
	for (int i = 0; i < WEFT_FAMILIES; i++)
		if (weft_address_is_set(&listing->own[i]) && weft_address_equals(peer, &listing->own[i]))
			return false;
	return !address_is_never_meshed(peer);
}

static int take(struct listing *listing, const struct nlmsghdr *header)
{
	const struct inet_diag_msg *message = NLMSG_DATA(header);
	uint16_t port = ntohs(message->id.idiag_sport);
	struct weft_address peer;

	if (header->nlmsg_len < NLMSG_LENGTH(sizeof(*message)))
		return -EBADMSG;
	if (message->idiag_state == TCP_LISTEN) {
		listing->listened[port / 8] |= (uint8_t)(1u << port % 8);
		return 0;
	}
	peer = weft_address_from(message->idiag_family, message->id.idiag_dst);
	if (!is_elsewhere(listing, &peer) || !is_of_cgroups(listing, header))
		return 0;
	return append(listing, message);
}

/* 1: there is more. */
static int take_answer(struct listing *listing, const struct nlmsghdr *header, int size)
{
	for (; NLMSG_OK(header, size); header = NLMSG_NEXT(header, size)) {
		int r;

		if (header->nlmsg_type == NLMSG_DONE)
			return 0;
		if (header->nlmsg_type == NLMSG_ERROR)
			return header->nlmsg_len < NLMSG_LENGTH(sizeof(struct nlmsgerr)) ? -EBADMSG : ((const struct nlmsgerr *)NLMSG_DATA(header))->error;
		r = take(listing, header);
		if (r)
			return r;
	}
	return 1;
}

/* The size of what came, or -errno. */
static ssize_t receive(int fd, void *bytes, size_t size)
{
	ssize_t got;

	do
		got = recv(fd, bytes, size, 0);
	while (got < 0 && errno == EINTR);
	return got < 0 ? -errno : got;
}

/* Of both families at once, as only the older request does: half the work. */
static int list(int fd, struct listing *listing)
{
	const struct {
		struct nlmsghdr header;
		struct inet_diag_req body;
	} request = {
		.header = { .nlmsg_len = sizeof(request), .nlmsg_type = TCPDIAG_GETSOCK, .nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP },
		.body = { .idiag_states = OPEN_STATES | 1u << TCP_LISTEN },
	};
	_cleanup_free_ struct nlmsghdr *answer = malloc(ANSWER_BYTES);
	int r = 1;

	if (!answer)
		return -ENOMEM;
	if (send(fd, &request, sizeof(request), 0) < 0)
		return -errno;
	while (r > 0) {
		ssize_t size = receive(fd, answer, ANSWER_BYTES);

		r = size < 0 ? (int)size : take_answer(listing, answer, (int)size);
	}
	return r;
}

/* Without those that came in. */
static void take_outbound(struct listing *listing, struct pod_sockets *out)
{
	struct pod_sockets *sockets = &listing->sockets;
	size_t kept = 0;

	for (size_t i = 0; i < sockets->count; i++) {
		struct inet_diag_sockid id;
		uint16_t port;

		memcpy(&id, sockets->items[i].id, sizeof(id));
		port = ntohs(id.idiag_sport);
		if (!(listing->listened[port / 8] & 1u << port % 8))
			sockets->items[kept++] = sockets->items[i];
	}
	sockets->count = kept;
	if (kept)
		qsort(sockets->items, kept, sizeof(*sockets->items), by_number);
	*out = *sockets;
	*sockets = (struct pod_sockets){ 0 };
}

int sockets_of_pod(int netns_fd, const char *cgroup, const struct weft_address own[WEFT_FAMILIES], struct pod_sockets *out)
{
	_cleanup_(listing_free) struct listing *listing = calloc(1, sizeof(*listing));
	_cleanup_close_ int fd = -1;
	int r;

	if (!listing)
		return -ENOMEM;
	listing->own = own;
	r = cgroup ? list_cgroups(cgroup, &listing->cgroups) : 0;
	if (!r)
		r = netns_netlink(netns_fd, NETLINK_SOCK_DIAG, &fd);
	if (!r)
		r = list(fd, listing);
	if (!r)
		take_outbound(listing, out);
	return r;
}

/* 1: open; 0: not any more. */
static int ask(int fd, const struct pod_socket *socket)
{
	struct {
		struct nlmsghdr header;
		struct inet_diag_req_v2 body;
	} request = {
		.header = { .nlmsg_len = sizeof(request), .nlmsg_type = SOCK_DIAG_BY_FAMILY, .nlmsg_flags = NLM_F_REQUEST },
		.body = { .sdiag_family = (uint8_t)socket->family, .sdiag_protocol = IPPROTO_TCP, .idiag_states = ~0u },
	};
	union {
		struct nlmsghdr header;
		uint8_t bytes[2048];
	} answer;
	const struct inet_diag_msg *message = NLMSG_DATA(&answer.header);
	ssize_t size;

	memcpy(&request.body.id, socket->id, sizeof(socket->id));
	if (send(fd, &request, sizeof(request), 0) < 0)
		return -errno;
	size = receive(fd, &answer, sizeof(answer));
	if (size < 0)
		return (int)size;
	if (!NLMSG_OK(&answer.header, (int)size))
		return -EBADMSG;
	if (answer.header.nlmsg_type == NLMSG_ERROR)
		return 0;
	/* a closed one may wait for its time to pass, with its cookie */
	return answer.header.nlmsg_len >= NLMSG_LENGTH(sizeof(*message)) && (OPEN_STATES & 1u << message->idiag_state);
}

int sockets_look_again(int netns_fd, struct pod_sockets *sockets)
{
	_cleanup_close_ int fd = -1;
	size_t kept = 0;
	int r = sockets->count ? netns_netlink(netns_fd, NETLINK_SOCK_DIAG, &fd) : 0;

	if (r)
		return r;
	for (size_t i = 0; i < sockets->count; i++) {
		int is_open = ask(fd, &sockets->items[i]);

		if (is_open) /* also when it can't be told */
			sockets->items[kept++] = sockets->items[i];
	}
	sockets->count = kept;
	return 0;
}
