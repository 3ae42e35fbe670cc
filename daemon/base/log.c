/* SPDX-License-Identifier: Apache-2.0 */
/* The level and the descriptor are the process's own and the only state outside `main` in the daemon: every module logs, from any thread. */
#include "base/log.h"

#include <errno.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/cleanup.h"

#define LINE_MAX_BYTES 4096

static atomic_int current_level = LOG_LEVEL_INFO;
static atomic_int output_fd = STDERR_FILENO;

static const char *const level_names[] = {
	[LOG_LEVEL_ERROR] = "error",
	[LOG_LEVEL_WARNING] = "warning",
	[LOG_LEVEL_INFO] = "info",
	[LOG_LEVEL_DEBUG] = "debug",
};

void log_set_level(enum log_level level)
{
	atomic_store_explicit(&current_level, level, memory_order_relaxed);
}

enum log_level log_level(void)
{
	return atomic_load_explicit(&current_level, memory_order_relaxed);
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

static void write_line(enum log_level level, const char *file, const char *text)
{
	char line[LINE_MAX_BYTES];
	struct timespec now;
	struct tm utc;
	const char *area;
	size_t used;
	int area_len, n;

	clock_gettime(CLOCK_REALTIME, &now);
	gmtime_r(&now.tv_sec, &utc);
	area_len = area_of(file, &area);
	n = snprintf(line, sizeof(line), "%04d-%02d-%02dT%02d:%02d:%02d.%03ldZ %s %.*s: ", utc.tm_year + 1900, utc.tm_mon + 1, utc.tm_mday,
		     utc.tm_hour, utc.tm_min, utc.tm_sec, now.tv_nsec / 1000000, log_level_name(level), area_len, area);
	if (n < 0 || (size_t)n >= sizeof(line) - 1)
		return;
	used = (size_t)n;
	used += escape(line + used, sizeof(line) - used - 1, text);
	line[used++] = '\n';

	/* There is nobody to tell when the log itself can't be written. */
	while (write(atomic_load_explicit(&output_fd, memory_order_relaxed), line, used) < 0 && errno == EINTR)
		;
}

void log_write(enum log_level level, const char *file, const char *fmt, ...)
{
	char text[LINE_MAX_BYTES];
	int saved = errno;
	va_list args;

	if (level > log_level())
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

	if (level > log_level())
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
