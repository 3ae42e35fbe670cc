/* SPDX-License-Identifier: Apache-2.0 */
/* Recorded answers of a real API server, byte by byte through the client: what it makes of them is what the server's own libraries made.
 *
 *   recordings DIR     for each NAME.expect of DIR, NAME.resp is served as it stands, in pieces
 *
 * Of bodies that weft never asks for (JSON, gzip) the head and the end are compared. */
#include <arpa/inet.h>
#include <dirent.h>
#include <event2/event.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/fd.h"
#include "k8s/io/api/core/v1/core.pb-c.h"
#include "k8s/io/apimachinery/pkg/runtime/runtime.pb-c.h"
#include "kube/access.h"
#include "kube/http.h"
#include "kube/wire.h"

typedef K8s__Io__Api__Core__V1__Pod pb_pod;
typedef K8s__Io__Api__Core__V1__Container pb_container;
typedef K8s__Io__Api__Core__V1__ContainerStatus pb_container_status;
typedef K8s__Io__Api__Core__V1__Namespace pb_namespace;
typedef K8s__Io__Apimachinery__Pkg__Apis__Meta__V1__ObjectMeta pb_meta;
typedef K8s__Io__Apimachinery__Pkg__Apis__Meta__V1__Status pb_status;

#define FILE_MAX (64u << 20)

struct replay {
	struct event_base *base;
	struct kube_call *call;
	struct kube_answer_head head;
	struct kube_frames frames;
	struct strbuf body, rows;
	bool is_watch, is_other, has_failed;
	const char *kind;
};

/* ---- the server ---------------------------------------------------------------------------------------------------------------------- */

struct server {
	int fd;
	const struct strbuf *bytes;
};

static void *serve(void *arg)
{
	struct server *server = arg;
	int fd = accept(server->fd, NULL, NULL);
	uint32_t seed = 1;
	char request[8192];
	size_t at = 0;

	if (fd < 0 || read(fd, request, sizeof(request)) <= 0)
		abort();
	while (at < server->bytes->size) {
		size_t piece = (seed = seed * 1664525 + 1013904223) >> 18, left = server->bytes->size - at;

		piece = piece < left ? piece : left;
		if (fd_write_all(fd, server->bytes->data + at, piece))
			break;
		at += piece;
	}
	close(fd);
	return NULL;
}

/* ---- rows of .expect ------------------------------------------------------------------------------------------------------------------- */

static const char *text(const char *value)
{
	return value && *value ? value : "-";
}

static void join(struct strbuf *out, char **items, size_t count)
{
	for (size_t i = 0; i < count; i++)
		strbuf_printf(out, "%s%s", i ? "," : "", items[i]);
	if (!count)
		strbuf_append_text(out, "-");
}

static int by_text(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

static void meta_row(struct strbuf *out, const pb_meta *meta)
{
	char *labels[64], *annotations[64];
	size_t count = 0;

	strbuf_printf(out, "\t%s\t%s\t%s\t%s\t%d\t", text(meta->namespace_), text(meta->name), text(meta->uid), text(meta->resourceversion), meta->deletiontimestamp != NULL);
	for (size_t i = 0; i < meta->n_labels && i < ARRAY_SIZE(labels); i++)
		if (asprintf(&labels[count], "%s=%s", meta->labels[i]->key, meta->labels[i]->value) > 0)
			count++;
	/* as whole words: "app.x=1" comes before "app=1" */
	qsort(labels, count, sizeof(labels[0]), by_text);
	join(out, labels, count);
	while (count)
		free(labels[--count]);
	for (; count < meta->n_annotations && count < ARRAY_SIZE(annotations); count++)
		annotations[count] = meta->annotations[count]->key;
	strbuf_append_text(out, "\t");
	join(out, annotations, count);
}

static const char *state_of(const pb_container_status *status)
{
	if (!status || !status->state)
		return "-";
	return status->state->running ? "running" : status->state->terminated ? "terminated" : status->state->waiting ? "waiting" : "-";
}

static void container_rows(struct strbuf *out, size_t *written, pb_container **containers, size_t count, pb_container_status **statuses, size_t status_count, bool is_init)
{
	for (size_t i = 0; i < status_count; i++) {
		const pb_container *container = NULL;
		bool is_sidecar;

		for (size_t j = 0; j < count; j++)
			if (strcmp(containers[j]->name, statuses[i]->name) == 0)
				container = containers[j];
		is_sidecar = is_init && container && container->restartpolicy && strcmp(container->restartpolicy, "Always") == 0;
		strbuf_printf(out, "%s%s|%s|%s|%s", (*written)++ ? "," : "", is_sidecar ? "s" : is_init ? "i" : "c", statuses[i]->name, state_of(statuses[i]),
			      text(statuses[i]->containerid));
	}
}

static void pod_row(struct strbuf *out, const pb_pod *pod)
{
	bool is_ready = false;
	size_t written = 0;

	for (size_t i = 0; i < pod->status->n_conditions; i++)
		if (strcmp(pod->status->conditions[i]->type, "Ready") == 0)
			is_ready = strcmp(pod->status->conditions[i]->status, "True") == 0;
	strbuf_printf(out, "\t%s\t%s\t%s\t%s\t%d\t%d\t", text(pod->status->phase), text(pod->spec->nodename), text(pod->spec->serviceaccountname),
		      text(pod->status->qosclass), pod->spec->hostnetwork, is_ready);
	for (size_t i = 0; i < pod->status->n_podips; i++)
		strbuf_printf(out, "%s%s", i ? "," : "", pod->status->podips[i]->ip);
	strbuf_append_text(out, pod->status->n_podips ? "\t" : "-\t");
	container_rows(out, &written, pod->spec->initcontainers, pod->spec->n_initcontainers, pod->status->initcontainerstatuses,
		       pod->status->n_initcontainerstatuses, true);
	container_rows(out, &written, pod->spec->containers, pod->spec->n_containers, pod->status->containerstatuses, pod->status->n_containerstatuses, false);
	strbuf_append_text(out, written ? "\t" : "-\t");
	for (size_t i = 0; i < pod->metadata->n_ownerreferences; i++)
		strbuf_printf(out, "%s%s/%s", i ? "," : "", pod->metadata->ownerreferences[i]->kind, pod->metadata->ownerreferences[i]->name);
	if (!pod->metadata->n_ownerreferences)
		strbuf_append_text(out, "-");
}

static int object_row(struct replay *replay, const char *verb, const char *kind, const uint8_t *raw, size_t size)
{
	struct strbuf *out = &replay->rows;

	strbuf_printf(out, "%s\t%s", verb, kind);
	if (strcmp(kind, "Status") == 0) {
		pb_status *status = k8s__io__apimachinery__pkg__apis__meta__v1__status__unpack(NULL, size, raw);

		if (!status)
			return -EBADMSG;
		strbuf_printf(out, "\t%d\t%s\t%d\t%s\t%s\n", status->code, text(status->reason), status->details ? status->details->retryafterseconds : 0,
			      status->metadata ? text(status->metadata->continue_) : "-", text(status->message));
		k8s__io__apimachinery__pkg__apis__meta__v1__status__free_unpacked(status, NULL);
	} else if (strcmp(kind, "Pod") == 0) {
		pb_pod *pod = k8s__io__api__core__v1__pod__unpack(NULL, size, raw);

		if (!pod)
			return -EBADMSG;
		meta_row(out, pod->metadata);
		pod_row(out, pod);
		strbuf_append_text(out, "\n");
		k8s__io__api__core__v1__pod__free_unpacked(pod, NULL);
	} else {
		pb_namespace *name = k8s__io__api__core__v1__namespace__unpack(NULL, size, raw);

		if (!name)
			return -EBADMSG;
		meta_row(out, name->metadata);
		if (strcmp(kind, "Namespace") == 0)
			strbuf_printf(out, "\t%s", text(name->status->phase));
		strbuf_append_text(out, "\n");
		k8s__io__api__core__v1__namespace__free_unpacked(name, NULL);
	}
	return 0;
}

static int on_item(void *arg, const uint8_t *raw, size_t size)
{
	struct replay *replay = arg;

	return object_row(replay, "ITEM", replay->kind, raw, size);
}

static int on_frame(void *arg, const uint8_t *bytes, size_t size)
{
	static const char *const names[] = { "ADDED", "MODIFIED", "DELETED", "BOOKMARK", "ERROR" };
	char version[KUBE_VERSION_MAX + 1];
	struct replay *replay = arg;
	struct kube_envelope object;
	enum kube_event_type type;
	bool ends;
	int r = kube_event_read(bytes, size, &type, &object);

	if (r || type != KUBE_BOOKMARK)
		return r ? r : object_row(replay, names[type], object.kind, object.raw, object.size);
	r = kube_version_read(object.raw, object.size, version, &ends);
	strbuf_printf(&replay->rows, "BOOKMARK\t%s\t-\t-\t-\t%s\t%d\n", object.kind, version, ends);
	return r;
}

static int list_rows(struct replay *replay, const struct kube_envelope *list)
{
	K8s__Io__Apimachinery__Pkg__Runtime__Unknown *unknown =
		k8s__io__apimachinery__pkg__runtime__unknown__unpack(NULL, replay->body.size - 4, (const uint8_t *)replay->body.data + 4);
	_cleanup_free_ char *kind = strndup(list->kind, strlen(list->kind) - 4);
	struct kube_list_meta meta = { .next = STRBUF_INIT };
	struct strbuf head = STRBUF_INIT, former = replay->rows;
	int r;

	if (!unknown || !unknown->typemeta)
		return -EBADMSG;
	replay->kind = kind;
	replay->rows = (struct strbuf)STRBUF_INIT;
	r = kube_list_read(list->raw, list->size, &meta, on_item, replay);
	strbuf_printf(&head, "%sLIST\t%s\t%s\t%s\t%s\t", strbuf_text(&former), list->kind, text(unknown->typemeta->apiversion), text(meta.resource_version), text(strbuf_text(&meta.next)));
	if (meta.remaining)
		strbuf_printf(&head, "%lld\n", (long long)meta.remaining);
	else
		strbuf_append_text(&head, "-\n");
	strbuf_append_text(&head, strbuf_text(&replay->rows));
	strbuf_release(&replay->rows);
	strbuf_release(&former);
	strbuf_release(&meta.next);
	replay->rows = head;
	k8s__io__apimachinery__pkg__runtime__unknown__free_unpacked(unknown, NULL);
	return r;
}

/* ---- the client ------------------------------------------------------------------------------------------------------------------------ */

static void on_head(void *arg, const struct kube_answer_head *head)
{
	struct replay *replay = arg;

	replay->head = *head;
	strbuf_printf(&replay->rows, "HTTP\t%d\t%s\t", head->code, text(head->content_type));
	if (head->retry_after_s)
		strbuf_printf(&replay->rows, "%u\n", head->retry_after_s);
	else
		strbuf_append_text(&replay->rows, "-\n");
	replay->is_other |= strcmp(head->content_type, KUBE_CONTENT_TYPE) != 0 && strcmp(head->content_type, "text/plain") != 0;
}

static void on_body(void *arg, const void *bytes, size_t size)
{
	struct replay *replay = arg;

	if (replay->is_other)
		return;
	if (!replay->is_watch)
		strbuf_append(&replay->body, bytes, size);
	else if (kube_frames_feed(&replay->frames, bytes, size, on_frame, replay))
		replay->has_failed = true;
}

static void end_body(struct replay *replay)
{
	struct kube_envelope envelope;

	if (strcmp(replay->head.content_type, "text/plain") == 0)
		strbuf_printf(&replay->rows, "TEXT\t%.*s\n", (int)strcspn(strbuf_text(&replay->body), "\n"), strbuf_text(&replay->body));
	else if (kube_envelope_read(strbuf_text(&replay->body), replay->body.size, &envelope))
		replay->has_failed = true;
	else if (strlen(envelope.kind) > 4 && strcmp(envelope.kind + strlen(envelope.kind) - 4, "List") == 0)
		replay->has_failed |= list_rows(replay, &envelope) != 0;
	else
		replay->has_failed |= object_row(replay, "OBJECT", envelope.kind, envelope.raw, envelope.size) != 0;
}

static void on_end(void *arg, const char *problem)
{
	struct replay *replay = arg;

	if (replay->is_watch)
		strbuf_printf(&replay->rows, "END\t%s\n", problem ? "cut" : "clean");
	else if (!replay->is_other)
		end_body(replay);
	event_base_loopbreak(replay->base);
}

static void exchange(struct replay *replay, const char *server)
{
	static const struct kube_call_events events = { on_head, on_body, on_end };
	const struct kube_request request = { .target = "/api/v1/pods" };
	struct kube_access access = { .server = strdup(server) };
	const struct timeval limit = { .tv_sec = 10 };
	struct kube_http *http = NULL;

	replay->base = event_base_new();
	if (kube_http_new(&http, replay->base, &access) || kube_call_new(&replay->call, http, &request, &events, replay))
		abort();
	event_base_loopexit(replay->base, &limit);
	event_base_dispatch(replay->base);
	kube_call_free(&replay->call);
	kube_http_free(&http);
	event_base_free(replay->base);
	kube_access_release(&access);
}

/* ---- comparing ------------------------------------------------------------------------------------------------------------------------- */

/* What of .expect counts: without parameters of the type; without rows of a body that is not read. */
static void reduce(const char *from, bool is_other, struct strbuf *out)
{
	for (const char *line = from, *end; *line; line = *end ? end + 1 : end) {
		const char *parameters;
		int size;

		end = line + strcspn(line, "\n");
		size = (int)(end - line);
		parameters = memchr(line, ';', (size_t)size);
		if (strncmp(line, "HTTP\t", 5) == 0 && parameters)
			strbuf_printf(out, "%.*s%.*s\n", (int)(parameters - line), line, (int)(end - parameters - (long)strcspn(parameters, "\t")), parameters + strcspn(parameters, "\t"));
		else if (!is_other || strncmp(line, "HTTP\t", 5) == 0 || strncmp(line, "END\t", 4) == 0)
			strbuf_printf(out, "%.*s\n", size, line);
	}
}

static void show_difference(const char *name, const char *wanted, const char *got, bool has_failed)
{
	while (*wanted && *got && strcspn(wanted, "\n") == strcspn(got, "\n") && strncmp(wanted, got, strcspn(got, "\n") + 1) == 0) {
		wanted += strcspn(wanted, "\n") + 1;
		got += strcspn(got, "\n") + 1;
	}
	printf("%s: wanted\n\t%.*s\nand got%s\n\t%.*s\n", name, (int)strcspn(wanted, "\n"), wanted, has_failed ? " something that can't be read" : "",
	       (int)strcspn(got, "\n"), got);
}

static bool run(const char *folder, const char *name)
{
	_cleanup_(strbuf_release) struct strbuf path = STRBUF_INIT, response = STRBUF_INIT, expected = STRBUF_INIT, wanted = STRBUF_INIT, url = STRBUF_INIT;
	struct sockaddr_in address = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	struct server server = { .fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), .bytes = &response };
	socklen_t size = sizeof(address);
	struct replay replay = { .kind = "" };
	pthread_t thread;
	bool is_equal;

	strbuf_printf(&path, "%s/%s.expect", folder, name);
	if (file_read(path.data, FILE_MAX, &expected))
		return false;
	strbuf_truncate(&path, path.size - strlen("expect"));
	strbuf_append_text(&path, "resp");
	if (file_read(path.data, FILE_MAX, &response)) {
		printf("%s: no response\n", name);
		return false;
	}
	replay.is_watch = strstr(strbuf_text(&expected), "\nEND\t") != NULL;
	replay.is_other = strstr(strbuf_text(&response), "Content-Encoding: gzip") != NULL;
	if (bind(server.fd, (struct sockaddr *)&address, sizeof(address)) || listen(server.fd, 1) || getsockname(server.fd, (struct sockaddr *)&address, &size) ||
	    pthread_create(&thread, NULL, serve, &server))
		abort();
	strbuf_printf(&url, "http://127.0.0.1:%u", ntohs(address.sin_port));
	exchange(&replay, strbuf_text(&url));
	pthread_join(thread, NULL);
	close(server.fd);
	reduce(strbuf_text(&expected), replay.is_other, &wanted);
	is_equal = !replay.has_failed && strcmp(strbuf_text(&wanted), strbuf_text(&replay.rows)) == 0;
	if (!is_equal)
		show_difference(name, strbuf_text(&wanted), strbuf_text(&replay.rows), replay.has_failed);
	strbuf_release(&replay.rows);
	strbuf_release(&replay.body);
	kube_frames_reset(&replay.frames);
	return is_equal;
}

static int is_expectation(const struct dirent *entry)
{
	size_t size = strlen(entry->d_name);

	return size > 7 && strcmp(entry->d_name + size - 7, ".expect") == 0;
}

int main(int argc, char **argv)
{
	struct dirent **entries;
	int count = argc == 2 ? scandir(argv[1], &entries, is_expectation, alphasort) : -1, failures = 0;

	if (count <= 0) {
		fprintf(stderr, "recordings: DIR with NAME.expect and NAME.resp is expected\n");
		return 2;
	}
	for (int i = 0; i < count; i++) {
		entries[i]->d_name[strlen(entries[i]->d_name) - 7] = '\0';
		failures += !run(argv[1], entries[i]->d_name);
		free(entries[i]);
	}
	free(entries);
	printf("%d recordings, %d read otherwise than the server's own libraries do\n", count, failures);
	return failures != 0;
}
