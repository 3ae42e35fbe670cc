/* SPDX-License-Identifier: Apache-2.0 */
/* RFC 8446, 4.1.2 and 5.1; RFC 6066, 3. What is malformed is no TLS, as for Envoy's tls_inspector. */
#include "proxy/client_hello.h"

#include <ctype.h>
#include <string.h>

#define RECORD_HEADER 5u
#define RECORD_HANDSHAKE 22
#define RECORD_MAX (16384u + 256u)
#define MESSAGE_HEADER 4u
#define MESSAGE_CLIENT_HELLO 1
#define EXTENSION_SERVER_NAME 0
#define NAME_OF_HOST 0
#define RANDOM_BYTES 32u
#define SESSION_MAX 32u

struct bytes {
	const u8 *at;
	u32 left;
};

static bool take(struct bytes *from, u32 len, struct bytes *out)
{
	if (len > from->left)
		return false;
	*out = (struct bytes){from->at, len};
	from->at += len;
	from->left -= len;
	return true;
}

/* A big-endian number of `size` bytes. */
static bool take_number(struct bytes *from, u32 size, u32 *out)
{
	struct bytes number;

	if (!take(from, size, &number))
		return false;
	*out = 0;
	for (u32 i = 0; i < size; i++)
		*out = *out << 8 | number.at[i];
	return true;
}

/* Bytes after their length, a number of `size` bytes. */
static bool take_counted(struct bytes *from, u32 size, struct bytes *out)
{
	u32 len;

	return take_number(from, size, &len) && take(from, len, out);
}

/* The handshake message out of the records that it lies in. */
static enum client_hello unwrap(const u8 *bytes, u32 len, u8 *message, u32 *message_len)
{
	struct bytes rest = {bytes, len};
	u32 wanted = MESSAGE_HEADER, have = 0;

	while (have < wanted) {
		u32 length, take_now;

		if ((rest.left > 0 && rest.at[0] != RECORD_HANDSHAKE) || (rest.left > 1 && rest.at[1] != 3))
			return CLIENT_HELLO_NONE;
		if (rest.left < RECORD_HEADER)
			return CLIENT_HELLO_MORE;
		length = (u32)rest.at[3] << 8 | rest.at[4];
		if (!length || length > RECORD_MAX)
			return CLIENT_HELLO_NONE;
		rest.at += RECORD_HEADER;
		rest.left -= RECORD_HEADER;
		for (take_now = length < rest.left ? length : rest.left; take_now && have < wanted; take_now--) {
			message[have++] = *rest.at++;
			rest.left--;
			length--;
			if (have == 1 && message[0] != MESSAGE_CLIENT_HELLO)
				return CLIENT_HELLO_NONE;
			if (have != MESSAGE_HEADER)
				continue;
			wanted += (u32)message[1] << 16 | (u32)message[2] << 8 | message[3];
			if (wanted > CLIENT_HELLO_MAX)
				return CLIENT_HELLO_LARGE;
		}
		if (have < wanted && length)
			return CLIENT_HELLO_MORE;
	}
	*message_len = wanted;
	return CLIENT_HELLO_DONE;
}

static bool read_name(struct bytes extension, char *name)
{
	struct bytes list, host;
	u32 type;

	if (!take_counted(&extension, 2, &list) || extension.left || !take_number(&list, 1, &type) || !take_counted(&list, 2, &host) || list.left)
		return false;
	if (type != NAME_OF_HOST || !host.left || host.left > SERVER_NAME_MAX || memchr(host.at, 0, host.left))
		return false;
	for (u32 i = 0; i < host.left; i++)
		name[i] = (char)tolower(host.at[i]);
	name[host.left] = 0;
	return true;
}

static bool read_hello(struct bytes hello, char *name)
{
	struct bytes ignored, suites, methods, extensions;
	u32 version;

	if (!take_number(&hello, 2, &version) || !take(&hello, RANDOM_BYTES, &ignored) || !take_counted(&hello, 1, &ignored) ||
	    ignored.left > SESSION_MAX || !take_counted(&hello, 2, &suites) || suites.left < 2 || suites.left & 1 ||
	    !take_counted(&hello, 1, &methods) || !methods.left)
		return false;
	if (!hello.left)
		return true; /* no extensions */
	if (!take_counted(&hello, 2, &extensions) || hello.left)
		return false;
	while (extensions.left) {
		struct bytes extension;
		u32 type;

		if (!take_number(&extensions, 2, &type) || !take_counted(&extensions, 2, &extension))
			return false;
		if (type == EXTENSION_SERVER_NAME && (*name || !read_name(extension, name)))
			return false;
	}
	return true;
}

enum client_hello client_hello_read(const u8 *bytes, u32 len, char name[SERVER_NAME_MAX + 1])
{
	u8 message[CLIENT_HELLO_MAX];
	u32 message_len = 0;
	enum client_hello r = unwrap(bytes, len, message, &message_len);

	*name = 0;
	if (r == CLIENT_HELLO_DONE && !read_hello((struct bytes){message + MESSAGE_HEADER, message_len - MESSAGE_HEADER}, name))
		return CLIENT_HELLO_NONE;
	return r == CLIENT_HELLO_MORE && len >= CLIENT_HELLO_MAX ? CLIENT_HELLO_LARGE : r;
}
