/* SPDX-License-Identifier: Apache-2.0 */
#include "keeper/pass.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/assert.h"
#include "base/cleanup.h"
#include "base/fd.h"

/* Room for the descriptors of the largest message, aligned as the kernel wants it. */
union control {
	struct cmsghdr header;
	char bytes[CMSG_SPACE(PASS_ENTRIES_MAX * sizeof(int))];
};

static size_t size_of(uint32_t count)
{
	return offsetof(struct pass_message, entries) + count * sizeof(struct table_entry);
}

static void attach(struct msghdr *message, union control *control, const int *fds, unsigned count)
{
	struct cmsghdr *header;

	if (!count)
		return;
	memset(control, 0, sizeof(*control));
	message->msg_control = control->bytes;
	message->msg_controllen = CMSG_SPACE(count * sizeof(int));
	header = CMSG_FIRSTHDR(message);
	header->cmsg_level = SOL_SOCKET;
	header->cmsg_type = SCM_RIGHTS;
	header->cmsg_len = CMSG_LEN(count * sizeof(int));
	memcpy(CMSG_DATA(header), fds, count * sizeof(int));
}

/* What came with a message; further ones than `max` are closed. */
static unsigned detach(struct msghdr *message, int *fds, unsigned max)
{
	unsigned count = 0;

	for (struct cmsghdr *header = CMSG_FIRSTHDR(message); header; header = CMSG_NXTHDR(message, header)) {
		size_t size;

		if (header->cmsg_level != SOL_SOCKET || header->cmsg_type != SCM_RIGHTS)
			continue;
		size = header->cmsg_len - CMSG_LEN(0);
		for (size_t at = 0; at + sizeof(int) <= size; at += sizeof(int)) {
			int fd;

			memcpy(&fd, CMSG_DATA(header) + at, sizeof(fd));
			if (count < max)
				fds[count++] = fd;
			else
				close(fd);
		}
	}
	return count;
}

static void close_all(const int *fds, unsigned count)
{
	for (unsigned i = 0; i < count; i++)
		close(fds[i]);
}

/* ---- messages -------------------------------------------------------------------------------------------------------------------- */

/* Of these the descriptors go along. */
static uint32_t entries_of(const struct pass_message *message)
{
	return message->kind == PASS_ENTRIES ? message->count : message->kind == PASS_PLACES ? PASS_PLACES_COUNT : 0;
}

/* PLACES is all descriptors: no struct table_entry, which may be another one there. */
static size_t size_with(const struct pass_message *message)
{
	return size_of(message->kind == PASS_ENTRIES ? message->count : 0);
}

int pass_send(int channel, const struct pass_message *message)
{
	uint32_t count = entries_of(message);
	struct iovec bytes = { .iov_base = (void *)message, .iov_len = size_with(message) };
	struct msghdr header = { .msg_iov = &bytes, .msg_iovlen = 1 };
	int fds[PASS_ENTRIES_MAX];
	union control control;
	unsigned fd_count = 0;

	weft_assert(count <= PASS_ENTRIES_MAX);
	for (uint32_t i = 0; i < count; i++)
		if (message->entries[i].fd >= 0)
			fds[fd_count++] = message->entries[i].fd;
	attach(&header, &control, fds, fd_count);
	if (sendmsg(channel, &header, MSG_DONTWAIT | MSG_NOSIGNAL) < 0)
		return errno == ECONNRESET ? -EPIPE : -errno;
	return 0;
}

static bool is_whole(const struct pass_message *message, ssize_t size, unsigned fd_count, int flags)
{
	unsigned expected = 0;
	uint32_t count;

	if (size < (ssize_t)size_of(0) || flags & (MSG_TRUNC | MSG_CTRUNC))
		return false;
	count = entries_of(message);
	if (count > PASS_ENTRIES_MAX || (size_t)size != size_with(message))
		return false;
	if (message->kind == PASS_PLACES)
		return fd_count == count;
	for (uint32_t i = 0; i < count; i++)
		expected += message->entries[i].fd >= 0;
	return fd_count == expected;
}

int pass_receive(int channel, struct pass_message *message)
{
	struct iovec bytes = { .iov_base = message, .iov_len = sizeof(*message) };
	struct msghdr header = { .msg_iov = &bytes, .msg_iovlen = 1 };
	int fds[PASS_ENTRIES_MAX];
	unsigned count, next = 0;
	union control control;
	ssize_t n;

	header.msg_control = control.bytes;
	header.msg_controllen = sizeof(control.bytes);
	n = recvmsg(channel, &header, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
	if (n < 0)
		return errno == ECONNRESET ? -EPIPE : -errno;
	count = detach(&header, fds, PASS_ENTRIES_MAX);
	if (n == 0)
		return -EPIPE;
	if (!is_whole(message, n, count, header.msg_flags)) {
		close_all(fds, count);
		return -EPROTO;
	}
	for (uint32_t i = 0; i < entries_of(message); i++)
		if (message->kind == PASS_PLACES || message->entries[i].fd >= 0)
			message->entries[i].fd = fds[next++];
	return 0;
}

void pass_close(const struct pass_message *message)
{
	for (uint32_t i = 0; i < entries_of(message); i++)
		if (message->entries[i].fd >= 0)
			close(message->entries[i].fd);
}

static int wait_for(int channel, short events, int timeout_ms)
{
	struct pollfd wait = { .fd = channel, .events = events };
	int r = poll(&wait, 1, timeout_ms);

	return r > 0 || (r < 0 && errno == EINTR) ? 0 : r == 0 ? -ETIMEDOUT : -errno;
}

int pass_send_wait(int channel, const struct pass_message *message, int timeout_ms)
{
	int r;

	while ((r = pass_send(channel, message)) == -EAGAIN) {
		r = wait_for(channel, POLLOUT, timeout_ms);
		if (r)
			break;
	}
	return r;
}

int pass_receive_wait(int channel, struct pass_message *message, int timeout_ms)
{
	int r;

	while ((r = pass_receive(channel, message)) == -EAGAIN) {
		r = wait_for(channel, POLLIN, timeout_ms);
		if (r)
			break;
	}
	return r;
}

/* ---- where to meet --------------------------------------------------------------------------------------------------------------- */

int pass_connect(const char *path, int *channel)
{
	_cleanup_close_ int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
	struct sockaddr_un address;
	int r = socket_address(path, &address);

	if (r)
		return r;
	if (fd < 0 || connect(fd, (const struct sockaddr *)&address, sizeof(address)) < 0)
		return -errno;
	*channel = TAKE_FD(fd);
	return 0;
}
