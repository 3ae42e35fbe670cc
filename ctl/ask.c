/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/fd.h"
#include "base/strbuf.h"
#include "ctl.h"

#define ANSWER_BYTES_MAX (1u << 30)
#define TIMEOUT_S 30

static int complain_connect(const char *path, int error)
{
	struct stat info;

	switch (error) {
	case ENOENT:
		fprintf(stderr, "weftctl: weftd is not running, or it listens elsewhere: there is no %s (see --control)\n", path);
		break;
	case ECONNREFUSED:
		if (stat(path, &info) == 0 && !S_ISSOCK(info.st_mode)) {
			fprintf(stderr, "weftctl: %s is no socket: --control is where weftd listens (its own --control, or " CONTROL ")\n", path);
			break;
		}
		fprintf(stderr, "weftctl: weftd is not running: nobody listens at %s any more\n", path);
		break;
	case EACCES:
	case EPERM:
		fprintf(stderr, "weftctl: only root may ask weftd at %s: try sudo\n", path);
		break;
	case EAGAIN: /* as many as may wait do so already */
		fprintf(stderr, "weftctl: no answer from weftd at %s: it takes too long\n", path);
		break;
	default:
		fprintf(stderr, "weftctl: connecting to weftd at %s: %s\n", path, strerror(error));
	}
	return 1;
}

static int connect_control(const char *path, int *out)
{
	const struct timeval timeout = { .tv_sec = TIMEOUT_S };
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	_cleanup_close_ int fd = -1;

	if (strlen(path) >= sizeof(address.sun_path)) {
		fprintf(stderr, "weftctl: %s is too long for a socket's path\n", path);
		return 1;
	}
	memcpy(address.sun_path, path, strlen(path));
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0) {
		perror("weftctl");
		return 1;
	}
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof(timeout));
	setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &timeout, sizeof(timeout));
	if (connect(fd, (struct sockaddr *)&address, sizeof(address)) < 0)
		return complain_connect(path, errno);
	*out = TAKE_FD(fd);
	return 0;
}

int ctl_ask(const struct ctl *ctl, json_t *request, json_t **answer)
{
	_cleanup_(strbuf_release) struct strbuf text = STRBUF_INIT;
	_cleanup_free_ char *line = json_dumps(request, JSON_COMPACT);
	_cleanup_close_ int fd = -1;
	json_error_t error;
	json_t *value;
	int r;

	json_decref(request);
	if (!line) {
		fprintf(stderr, "weftctl: the question is not text (UTF-8)\n");
		return 1;
	}
	if (connect_control(ctl->control, &fd))
		return 1;
	r = fd_write_all(fd, line, strlen(line));
	if (r == 0)
		r = fd_write_all(fd, "\n", 1);
	/* A refusal may have been answered before all was written: it is there to be read, whatever became of the rest. */
	if (r == 0 || r == -EPIPE || r == -ECONNRESET)
		r = fd_read_all(fd, ANSWER_BYTES_MAX, &text);
	if (r == -ECONNRESET && text.size && text.data[text.size - 1] == '\n')
		r = 0;
	if (r || text.size == 0) {
		fprintf(stderr, "weftctl: no answer from weftd at %s: %s\n", ctl->control,
			r == -EAGAIN ? "it takes too long" : r ? strerror(-r) : "it closed the connection (did its worker just end?)");
		return 1;
	}
	value = json_loadb(text.data, text.size, 0, &error);
	if (!json_is_object(value)) {
		fprintf(stderr, "weftctl: weftd's answer is not understood: %s\n", value ? "not an object" : error.text);
		json_decref(value);
		return 1;
	}
	if (json_object_get(value, "error")) {
		fprintf(stderr, "weftctl: %s\n", ctl_text(value, "error"));
		json_decref(value);
		return 1;
	}
	*answer = value;
	return 0;
}

void ctl_print_json(const json_t *value)
{
	json_dumpf(value, stdout, JSON_INDENT(2) | JSON_PRESERVE_ORDER | JSON_ENCODE_ANY);
	putchar('\n');
}

int ctl_show(const struct ctl *ctl, int argc, const char *command, void (*narrow)(json_t *answer, const char *namespace_name),
	     void (*print)(const json_t *answer))
{
	json_t *answer;
	int r;

	if (argc)
		return ctl_usage("%s takes nothing more", command);
	r = ctl_ask(ctl, json_pack("{s:s}", "command", command), &answer);
	if (r)
		return r;
	if (narrow)
		narrow(answer, ctl->namespace_name);
	if (ctl->is_json)
		ctl_print_json(answer);
	else
		print(answer);
	json_decref(answer);
	return 0;
}

const char *ctl_text(const json_t *object, const char *key)
{
	const char *text = json_string_value(json_object_get(object, key));

	return text ? text : "";
}

long long ctl_number(const json_t *object, const char *key)
{
	return json_integer_value(json_object_get(object, key));
}
