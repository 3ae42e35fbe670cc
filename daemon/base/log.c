/* SPDX-License-Identifier: Apache-2.0 */
/* Levels, format and descriptor are the process's own and the only state outside `main` in the daemon: every module logs, from any thread. */
#include "base/log.h"

#include <errno.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "base/cleanup.h"

#define LINE_MAX_BYTES 4096

/* The folders of the daemon, and what stands in their root. What logs from elsewhere has the level that all were given last. */
static const char *const areas[] = { "main", "base", "regex", "keeper", "kube", "mesh", "xds", "dns", "compile", "datapath", "pool", "proxy", "telemetry",
				     "admin", "worker" };

static atomic_int current_level = LOG_LEVEL_INFO;
static atomic_int area_levels[ARRAY_SIZE(areas)]; /* level + 1; 0: as current_level */
static atomic_int current_format = LOG_FORMAT_TEXT;
static atomic_int output_fd = STDERR_FILENO;
static atomic_uint current_rate;       /* lines a second; 0: as many as there are */
static atomic_llong window_second;     /* the last one in which something was to be written */
static atomic_uint window_lines;       /* ... in it */

/* What the log lacks, and what of that no line has told yet. */
struct counts {
	atomic_ullong left_out, untold_left_out; /* lines beyond the rate */
	atomic_ullong lost, untold_lost;         /* that could not be written */
};

static struct counts own_counts;
static struct counts *counts = &own_counts; /* or memory that is shared; set before there is anybody to share it with */

static const char *const level_names[] = {
	[LOG_LEVEL_ERROR] = "error",
	[LOG_LEVEL_WARNING] = "warning",
	[LOG_LEVEL_INFO] = "info",
	[LOG_LEVEL_DEBUG] = "debug",
};

void log_set_level(enum log_level level)
{
	atomic_store_explicit(&current_level, level, memory_order_relaxed);
	for (size_t i = 0; i < ARRAY_SIZE(areas); i++)
		atomic_store_explicit(&area_levels[i], 0, memory_order_relaxed);
}

enum log_level log_level(void)
{
	return atomic_load_explicit(&current_level, memory_order_relaxed);
}

const char *log_area(size_t index)
{
	return index < ARRAY_SIZE(areas) ? areas[index] : NULL;
}

static enum log_level level_at(size_t index)
{
	int level = atomic_load_explicit(&area_levels[index], memory_order_relaxed);

	return level ? (enum log_level)(level - 1) : log_level();
}

int log_set_area_level(const char *area, enum log_level level)
{
	for (size_t i = 0; i < ARRAY_SIZE(areas); i++) {
		if (strcmp(area, areas[i]) == 0) {
			atomic_store_explicit(&area_levels[i], (int)level + 1, memory_order_relaxed);
			return 0;
		}
	}
	return -ENOENT;
}

void log_each_level(void (*fn)(void *arg, const char *area, enum log_level level), void *arg)
{
	for (size_t i = 0; i < ARRAY_SIZE(areas); i++)
		fn(arg, areas[i], level_at(i));
}

void log_set_format(enum log_format format)
{
	atomic_store_explicit(&current_format, format, memory_order_relaxed);
}

int log_format_parse(const char *text, enum log_format *out)
{
	bool is_json = strcmp(text, "json") == 0;

	if (!is_json && strcmp(text, "text") != 0)
		return -EINVAL;
	*out = is_json ? LOG_FORMAT_JSON : LOG_FORMAT_TEXT;
	return 0;
}

void log_set_fd(int fd)
{
	atomic_store_explicit(&output_fd, fd, memory_order_relaxed);
}

int log_level_parse(const char *text, enum log_level *out)
{
	for (size_t i = 0; i < ARRAY_SIZE(level_names); i++) {
		if (strcmp(text, level_names[i]) == 0) {
			*out = (enum log_level)i;
			return 0;
		}
	}
	return -EINVAL;
}

const char *log_level_name(enum log_level level)
{
	return (size_t)level < ARRAY_SIZE(level_names) ? level_names[level] : "?";
}

/* daemon/pool/slot.c -> pool: the last folder is the area. */
static int area_of(const char *file, const char **area)
{
	const char *slash = strrchr(file, '/');
	const char *start = slash;

	if (!slash) {
		*area = "main";
		return 4;
	}
	while (start > file && start[-1] != '/')
		start--;
	*area = start;
	/* daemon/main.c and the like stand in the root of their tree */
	if (slash - start == 6 && memcmp(start, "daemon", 6) == 0) {
		*area = "main";
		return 4;
	}
	return (int)(slash - start);
}

/* Copies text, escaping what would break the line; returns the bytes written. Room for an escape of 4 is kept. */
static size_t escape(char *to, size_t room, const char *text)
{
	static const char hex[] = "0123456789abcdef";
	size_t used = 0;

	for (; *text && used + 4 < room; text++) {
		unsigned char c = (unsigned char)*text;

		if (c == '\n') {
			to[used++] = '\\';
			to[used++] = 'n';
		} else if (c < 0x20 || c == 0x7f) {
			to[used++] = '\\';
			to[used++] = 'x';
			to[used++] = hex[c >> 4];
			to[used++] = hex[c & 15];
		} else {
			to[used++] = (char)c;
		}
	}
	return used;
}

/* The size of the UTF-8 sequence that begins here; 0 when none does. Overlong forms and surrogates pass: readers replace them. */
static size_t utf8_size(const char *text)
{
	unsigned char first = (unsigned char)*text;
	size_t size = first < 0x80 ? 1 : first >= 0xc2 && first < 0xe0 ? 2 : first >= 0xe0 && first < 0xf0 ? 3 : first >= 0xf0 && first < 0xf5 ? 4 : 0;

	for (size_t i = 1; i < size; i++)
		if (((unsigned char)text[i] & 0xc0) != 0x80)
			return 0;
	return size;
}

/* The same as a JSON string's inside; room for an escape of 6 is kept. */
static size_t escape_json(char *to, size_t room, const char *text)
{
	size_t used = 0, size;

	for (; *text && used + 6 < room; text += size) {
		size = utf8_size(text);
		if (!size) {
			size = 1;
			used += (size_t)sprintf(to + used, "\\ufffd");
		} else if (*text == '"' || *text == '\\') {
			to[used++] = '\\';
			to[used++] = *text;
		} else if ((unsigned char)*text < 0x20) {
			used += (size_t)sprintf(to + used, "\\u%04x", (unsigned)*text);
		} else {
			memcpy(to + used, text, size);
			used += size;
		}
	}
	return used;
}

static bool is_shown(enum log_level level, const char *file)
{
	const char *area;
	int len = area_of(file, &area);

	for (size_t i = 0; i < ARRAY_SIZE(areas); i++)
		if (strncmp(areas[i], area, (size_t)len) == 0 && !areas[i][len])
			return level <= level_at(i);
	return level <= log_level();
}

void log_set_rate(unsigned lines_per_second)
{
	atomic_store_explicit(&current_rate, lines_per_second, memory_order_relaxed);
}

unsigned long long log_left_out(void)
{
	return atomic_load_explicit(&counts->left_out, memory_order_relaxed);
}

unsigned long long log_lost(void)
{
	return atomic_load_explicit(&counts->lost, memory_order_relaxed);
}

int log_share_counts(void)
{
	struct counts *shared;

	if (counts != &own_counts)
		return 0;
	shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (shared == MAP_FAILED)
		return -errno;
	*shared = own_counts;
	counts = shared;
	return 0;
}

static bool put_bytes(const char *bytes, size_t size)
{
	int fd = atomic_load_explicit(&output_fd, memory_order_relaxed);
	ssize_t n;

	do {
		n = send(fd, bytes, size, MSG_DONTWAIT | MSG_NOSIGNAL);
		if (n < 0 && errno == ENOTSOCK)
			n = write(fd, bytes, size);
	} while (n < 0 && errno == EINTR);
	return n >= 0;
}

static bool put_line(enum log_level level, const char *file, const char *text)
{
	char line[LINE_MAX_BYTES];
	struct timespec now;
	struct tm utc;
	const char *area;
	size_t used;
	const char *format;
	int area_len, n;
	bool is_json;

	clock_gettime(CLOCK_REALTIME, &now);
	gmtime_r(&now.tv_sec, &utc);
	area_len = area_of(file, &area);
	is_json = atomic_load_explicit(&current_format, memory_order_relaxed) == LOG_FORMAT_JSON;
	format = is_json ? "{\"time\":\"%04d-%02d-%02dT%02d:%02d:%02d.%03ldZ\",\"level\":\"%s\",\"area\":\"%.*s\",\"message\":\"" :
			   "%04d-%02d-%02dT%02d:%02d:%02d.%03ldZ %s %.*s: ";
	n = snprintf(line, sizeof(line), format, utc.tm_year + 1900, utc.tm_mon + 1, utc.tm_mday,
		     utc.tm_hour, utc.tm_min, utc.tm_sec, now.tv_nsec / 1000000, log_level_name(level), area_len, area);
	if (n < 0 || (size_t)n >= sizeof(line) - 1)
		return false;
	used = (size_t)n;
	used += is_json ? escape_json(line + used, sizeof(line) - used - 3, text) : escape(line + used, sizeof(line) - used - 1, text);
	if (is_json) {
		line[used++] = '"';
		line[used++] = '}';
	}
	line[used++] = '\n';
	return put_bytes(line, used);
}

/* `left_out` is what has to be said before the line: how many of earlier seconds were left out. */
static bool is_within_rate(unsigned rate, unsigned long long *left_out)
{
	long long second = (long long)time(NULL), window = atomic_load(&window_second);

	/* One thread begins the second. */
	if (second != window && atomic_compare_exchange_strong(&window_second, &window, second)) {
		atomic_store(&window_lines, 0);
		*left_out = atomic_exchange(&counts->untold_left_out, 0);
	}
	if (atomic_fetch_add(&window_lines, 1) < rate)
		return true;
	atomic_fetch_add(&counts->left_out, 1);
	atomic_fetch_add(&counts->untold_left_out, 1);
	return false;
}

/* Those that were lost before come first: while that can't be said, nothing can. */
static bool tell_lost(void)
{
	unsigned long long lost = atomic_exchange(&counts->untold_lost, 0);
	char notice[128];

	if (!lost)
		return true;
	snprintf(notice, sizeof(notice), "%llu lines were lost: they could not be written when they came", lost);
	if (put_line(LOG_LEVEL_WARNING, __FILE__, notice))
		return true;
	atomic_fetch_add(&counts->untold_lost, lost);
	return false;
}

static void put_or_count(enum log_level level, const char *file, const char *text)
{
	if (tell_lost() && put_line(level, file, text))
		return;
	atomic_fetch_add(&counts->lost, 1);
	atomic_fetch_add(&counts->untold_lost, 1);
}

static void write_line(enum log_level level, const char *file, const char *text)
{
	unsigned rate = atomic_load_explicit(&current_rate, memory_order_relaxed);
	unsigned long long left_out = 0;
	char notice[128];

	if (rate && !is_within_rate(rate, &left_out))
		return;
	if (left_out) {
		snprintf(notice, sizeof(notice), "%llu lines were left out: more than %u in a second (--log-rate)", left_out, rate);
		put_or_count(LOG_LEVEL_WARNING, __FILE__, notice);
	}
	put_or_count(level, file, text);
}

void log_write(enum log_level level, const char *file, const char *fmt, ...)
{
	char text[LINE_MAX_BYTES];
	int saved = errno;
	va_list args;

	if (!is_shown(level, file))
		return;
	va_start(args, fmt);
	vsnprintf(text, sizeof(text), fmt, args);
	va_end(args);
	write_line(level, file, text);
	errno = saved;
}

int log_write_error(enum log_level level, const char *file, int r, const char *fmt, ...)
{
	char text[LINE_MAX_BYTES];
	char meaning[128];
	int saved = errno;
	va_list args;
	int n;

	if (!is_shown(level, file))
		return r;
	va_start(args, fmt);
	n = vsnprintf(text, sizeof(text), fmt, args);
	va_end(args);
	if (r && n >= 0 && (size_t)n < sizeof(text))
		snprintf(text + n, sizeof(text) - (size_t)n, ": %s", strerror_r(r < 0 ? -r : r, meaning, sizeof(meaning)));
	write_line(level, file, text);
	errno = saved;
	return r;
}
