/* SPDX-License-Identifier: Apache-2.0 */
/* The configuration file: read as a whole, taken as a whole or refused as a whole. Watched by its folder, because editors and ConfigMaps
 * replace files by rename or by swapping a symbolic link somewhere in the path. */
#include <errno.h>
#include <event2/event.h>
#include <libgen.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/fd.h"
#include "base/log.h"
#include "kube/pods.h"
#include "mesh/mesh.h"
#include "worker/internal.h"

#define FILE_BYTES_MAX (256u << 20)
#define MESSAGES_LOGGED_MAX 40
#define SETTLE_MS 100
#define SETTLE_MAX_MS 1000
#define RECENT_S 2 /* a file that was written so lately may be written again without its times showing it */
#define WATCHED (IN_CLOSE_WRITE | IN_MODIFY | IN_MOVED_TO | IN_MOVED_FROM | IN_CREATE | IN_DELETE | IN_ATTRIB)

static void log_message(const struct mesh_message *message)
{
	char place[PATH_MAX + 32] = "";

	if (message->file[0] && message->line)
		snprintf(place, sizeof(place), "%s:%u:%u: ", message->file, message->line, message->column);
	else if (message->file[0])
		snprintf(place, sizeof(place), "%s: ", message->file);
	if (message->severity == MESH_ERROR)
		log_error("%s%s%s%s", place, message->path, message->path[0] ? ": " : "", message->text);
	else
		log_warning("%s%s%s%s", place, message->path, message->path[0] ? ": " : "", message->text);
}

/* Errors first: a thousand warnings must not hide the one thing that matters. */
static void log_report(const struct mesh_report *report)
{
	size_t logged = 0;

	for (int severity = MESH_ERROR; severity >= MESH_WARNING; severity--) {
		for (size_t i = 0; i < report->count && logged < MESSAGES_LOGGED_MAX; i++) {
			if (report->messages[i].severity == (enum mesh_severity)severity) {
				log_message(&report->messages[i]);
				logged++;
			}
		}
	}
	if (report->error_count + report->warning_count > logged)
		log_warning("%zu further messages about this configuration: `weftd --check FILE` shows them",
			    report->error_count + report->warning_count - logged);
}

bool worker_config_is_empty(const struct mesh *mesh)
{
	return !pods_count(mesh->pods) && !mesh->listener_count && !mesh->route_config_count && !mesh->cluster_count &&
	       !mesh->load_assignment_count && !mesh->refused_count;
}

/* 0 and a mesh in which nothing was refused. */
static int load(const struct options *options, const struct strbuf *text, struct mesh **out)
{
	const char *path = options->config;
	_cleanup_(mesh_report_release) struct mesh_report report = MESH_REPORT_INIT;
	_cleanup_(mesh_free) struct mesh *mesh = NULL;
	int r;

	r = mesh_load_text_as(path, strbuf_text(text), text->size, options->strict, &mesh, &report);
	log_report(&report);
	if (r == 0 && worker_config_is_empty(mesh)) {
		log_error("%s: it says nothing: neither pods nor resources", path);
		r = -EINVAL;
	}
	if (r == 0 && mesh->refused_count)
		r = -EINVAL;
	if (r)
		return r;
	*out = TAKE_PTR(mesh);
	return 0;
}

static bool names_only_pods(const struct mesh *mesh)
{
	return !mesh->listener_count && !mesh->route_config_count && !mesh->cluster_count && !mesh->load_assignment_count && !mesh->refused_count;
}

/* What the file says of resources serves all pods; with streams it may only name the pods. */
static int apply_resources(struct worker *worker, struct mesh *mesh)
{
	struct serving *serving;
	int r;

	if (worker->scopes.events && !names_only_pods(mesh)) {
		log_error("%s: resources come from istiod: with --xds the file may only name pods", worker->config->options->config);
		return -EINVAL;
	}
	if (worker->scopes.events)
		return worker->config->options->kubernetes ? 0 : scopes_update(worker, mesh->pods, worker_now_ms());
	serving = scopes_next(worker, NULL);
	mesh_require_mtls(mesh, worker->scopes.requires_mtls);
	r = publish_mesh(worker, serving, mesh);
	if (r)
		return r;
	serving->mesh = mesh;
	names_want(worker);
	return 0;
}

static int apply(struct worker *worker, struct mesh **mesh)
{
	int r;

	if (worker->config->options->kubernetes && pods_count((*mesh)->pods)) {
		log_error("%s: pods come from Kubernetes: with --kubernetes the file may not name any", worker->config->options->config);
		return -EINVAL;
	}
	r = apply_resources(worker, *mesh);
	if (r)
		return r;
	r = worker->config->options->kubernetes ? 0 : pods_apply(worker, (*mesh)->pods);
	if (r)
		log_err(r, "enrolling pods");
	if (worker->config->options->kubernetes)
		pods_judge_scope(worker, scopes_next(worker, NULL));
	mesh_free(&worker->mesh);
	worker->mesh = TAKE_PTR(*mesh);
	return 0;
}

static void remember_file(struct worker *worker)
{
	struct stat info;

	if (stat(worker->config->options->config, &info) < 0) {
		worker->source.identity = (struct file_identity){ 0 };
		return;
	}
	worker->source.identity = (struct file_identity){ info.st_dev, info.st_ino };
	worker->source.modified = info.st_mtim;
	worker->source.size = (uint64_t)info.st_size;
}

static void move_text(struct strbuf *to, struct strbuf *from)
{
	strbuf_release(to);
	*to = *from;
	*from = (struct strbuf)STRBUF_INIT;
}

static void keep_text(struct worker *worker, struct strbuf *text)
{
	int r = memory_keep(worker->table, MEMORY_CONFIG, strbuf_text(text), text->size, &worker->source.entry);

	if (r)
		log_warn(r, "keeping the configuration for a next worker: should this one die, the file must be good then");
	move_text(&worker->source.text, text);
}

static bool is_equal(const struct strbuf *a, const struct strbuf *b)
{
	/* Nothing was refused yet: an empty buffer without memory is not an empty file. */
	return b->data && a->size == b->size && memcmp(strbuf_text(a), b->data, a->size) == 0;
}

/* While something is served, nothing is waited for: a pipe in the file's place has perhaps no writer, and the worker has better to do. */
static int read_file(const struct worker *worker, struct strbuf *text)
{
	const char *path = worker->config->options->config;

	return worker->source.text.data ? file_read_regular(path, FILE_BYTES_MAX, text) : file_read(path, FILE_BYTES_MAX, text);
}

static int complain_unreadable(const char *path, int r)
{
	if (r != -ENODEV)
		return log_err(r, "%s", path);
	log_error("%s: it is a pipe or a device, and only a regular file is read again", path);
	return r;
}

/* Reads, loads and publishes. Nothing has changed when this fails. */
static int take_file(struct worker *worker, bool even_if_equal)
{
	_cleanup_(strbuf_release) struct strbuf text = STRBUF_INIT;
	_cleanup_(mesh_free) struct mesh *mesh = NULL;
	const char *path = worker->config->options->config;
	int r;

	remember_file(worker);
	r = read_file(worker, &text);
	/* Said once is enough, however often the folder changes: this very line may be in a file there. */
	if (r && r == worker->source.unreadable && !even_if_equal)
		return -EALREADY;
	worker->source.unreadable = r;
	if (r)
		return complain_unreadable(path, r);
	if (!even_if_equal && (is_equal(&text, &worker->source.text) || is_equal(&text, &worker->source.refused)))
		return -EALREADY;
	r = load(worker->config->options, &text, &mesh);
	if (r == 0)
		r = apply(worker, &mesh);
	if (r) {
		/* likewise */
		move_text(&worker->source.refused, &text);
		return r;
	}
	strbuf_release(&worker->source.refused);
	keep_text(worker, &text);
	worker->state->generation++;
	return 0;
}

void config_reload(struct worker *worker, bool is_asked)
{
	const char *path = worker->config->options->config;
	int r = path ? take_file(worker, is_asked) : -EALREADY;

	if (r == -EALREADY)
		return;
	if (r) {
		worker->source.refusals++;
		log_error("%s is refused; the configuration before it keeps serving", path);
		return;
	}
	worker->source.changes++;
	log_info("%s serves", path);
}

/* ---- watching -------------------------------------------------------------------------------------------------------------------- */

static void watch_folder(int fd, const char *path)
{
	_cleanup_free_ char *copy = strdup(path);

	/* Once for each link on the way: adding a folder that is watched already changes nothing. */
	if (copy)
		inotify_add_watch(fd, dirname(copy), WATCHED);
}

/* The folder of the path as it was given (a link in it is swapped there), and that of the file it leads to now. */
static void watch(struct worker *worker)
{
	const char *path = worker->config->options->config;
	_cleanup_free_ char *real = realpath(path, NULL);

	watch_folder(worker->source.inotify_fd, path);
	if (real)
		watch_folder(worker->source.inotify_fd, real);
}

/* By what stat() says, which costs nothing: other files of the folder, such as our own log, change all the time. */
static bool has_changed(const struct worker *worker, bool counts_recent)
{
	const struct config_source *source = &worker->source;
	struct stat info;

	/* Gone is a change too: once, since a file that can't be read has no identity. */
	if (stat(worker->config->options->config, &info) < 0)
		return source->identity.inode != 0;
	return info.st_dev != source->identity.device || info.st_ino != source->identity.inode || (uint64_t)info.st_size != source->size ||
	       info.st_mtim.tv_sec != source->modified.tv_sec || info.st_mtim.tv_nsec != source->modified.tv_nsec ||
	       (counts_recent && time(NULL) - info.st_mtim.tv_sec <= RECENT_S);
}

/* A burst of changes is one, but a folder that never rests must not put it off for ever. */
static void settle(struct worker *worker)
{
	const struct timeval soon = { .tv_usec = SETTLE_MS * 1000 };

	if (!evtimer_pending(worker->source.settle_event, NULL))
		worker->source.changed_ms = worker_now_ms();
	else if (worker_now_ms() - worker->source.changed_ms > SETTLE_MAX_MS)
		return;
	evtimer_add(worker->source.settle_event, &soon);
}

static void on_settled(evutil_socket_t fd, short what, void *arg)
{
	struct worker *worker = arg;

	(void)fd;
	(void)what;
	if (worker->is_stopping || !has_changed(worker, true))
		return;
	watch(worker);
	config_reload(worker, false);
}

static void on_inotify(evutil_socket_t fd, short what, void *arg)
{
	char events[8192] __attribute__((aligned(__alignof__(struct inotify_event))));

	(void)what;
	/* Which file it was does not matter: has_changed() looks at ours. */
	while (read(fd, events, sizeof(events)) > 0)
		;
	settle(arg);
}

void config_check_file(struct worker *worker)
{
	if (worker->config->options->config && has_changed(worker, false))
		settle(worker);
}

static int start_watching(struct worker *worker)
{
	struct config_source *source = &worker->source;

	source->settle_event = evtimer_new(worker->base, on_settled, worker);
	if (!source->settle_event)
		return -ENOMEM;
	source->inotify_fd = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
	if (source->inotify_fd < 0) {
		/* Instances are a limited good of the whole machine. */
		log_warn(-errno, "watching the configuration: a change is seen a few seconds late");
		return 0;
	}
	source->inotify_event = event_new(worker->base, source->inotify_fd, EV_READ | EV_PERSIST, on_inotify, worker);
	if (!source->inotify_event || event_add(source->inotify_event, NULL) < 0)
		return -ENOMEM;
	watch(worker);
	return 0;
}

/* ---- beginning ------------------------------------------------------------------------------------------------------------------- */

/* What the former worker served: the file may have become bad since. */
static int take_kept(struct worker *worker)
{
	_cleanup_(strbuf_release) struct strbuf text = STRBUF_INIT;
	_cleanup_(mesh_free) struct mesh *mesh = NULL;
	int r;

	r = memory_find(worker->table, MEMORY_CONFIG, &text, &worker->source.entry);
	if (r)
		return r;
	r = load(worker->config->options, &text, &mesh);
	if (r)
		return r;
	r = apply(worker, &mesh);
	if (r)
		return r;
	move_text(&worker->source.text, &text);
	return 0;
}

int config_start(struct worker *worker)
{
	const char *path = worker->config->options->config;
	int r;

	if (!path)
		return 0;
	r = worker->is_successor ? take_kept(worker) : -ENOENT;
	if (r) {
		r = take_file(worker, true);
		/* Not the first worker, though it begins anew: what served once is better than nothing. */
		if (r && take_kept(worker) == 0) {
			r = 0;
		} else if (r) {
			log_error("%s can't be served: weftd ends", path);
			return r;
		} else {
			log_info("%s serves", path);
		}
	}
	return start_watching(worker);
}

void config_stop(struct worker *worker)
{
	struct config_source *source = &worker->source;

	if (source->inotify_event)
		event_free(source->inotify_event);
	if (source->inotify_fd >= 0)
		close(source->inotify_fd);
	if (source->settle_event)
		event_free(source->settle_event);
	strbuf_release(&source->text);
	strbuf_release(&source->refused);
	mesh_free(&worker->mesh);
}
