/* SPDX-License-Identifier: Apache-2.0 */
/* One line a message on standard error: time, level, area, text. An error is logged once, where it is handled.
 *
 * The area is the folder of the source file that logs (daemon/pool/x.c: pool). Each area has a level of the process's; any thread may log or change it,
 * and every message is one write(2), so lines of threads and of keeper and worker never mix. */
#ifndef WEFT_BASE_LOG_H
#define WEFT_BASE_LOG_H

#include <stdbool.h>
#include <stddef.h>

enum log_level { LOG_LEVEL_ERROR, LOG_LEVEL_WARNING, LOG_LEVEL_INFO, LOG_LEVEL_DEBUG };

/* One object a line: time, level, area, message. */
enum log_format { LOG_FORMAT_TEXT, LOG_FORMAT_JSON };
void log_set_format(enum log_format format);
int log_format_parse(const char *text, enum log_format *out); /* "text", "json"; -EINVAL */

/* As many lines a second are written; further ones are left out and counted, and a line in a later second says how many. 0, as at first: all are. */
void log_set_rate(unsigned lines_per_second);
unsigned long long log_left_out(void); /* until now */

/* What could not be written, for instance since whoever reads the log has stopped to: nobody waits for him where the descriptor allows it
 * (fd_write_without_waiting(); a socket always does). A line says how many before the next one that can be. */
unsigned long long log_lost(void); /* until now */

/* From here on both are counted together with processes that are made of this one, and a line of any of them tells of what all of them lack. Before there are
 * threads; the rate stays each process's own. */
int log_share_counts(void);

/* Of every area. */
void log_set_level(enum log_level level);
enum log_level log_level(void); /* what log_set_level() set last */

/* Of one; -ENOENT: there is none of that name. */
int log_set_area_level(const char *area, enum log_level level);
const char *log_area(size_t index); /* NULL: there are no more */
void log_each_level(void (*fn)(void *arg, const char *area, enum log_level level), void *arg);

/* "error", "warning", "info", "debug"; -EINVAL for anything else. */
int log_level_parse(const char *text, enum log_level *out);
const char *log_level_name(enum log_level level);

/* Where lines go; 2 unless told otherwise. The descriptor stays the caller's. */
void log_set_fd(int fd);

/* Line breaks and control bytes in the text are escaped: a message that quotes the network stays one line. */
void log_write(enum log_level level, const char *file, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

/* Logs with the meaning of `r` (a -errno; 0 has none) appended, and returns `r`. */
int log_write_error(enum log_level level, const char *file, int r, const char *fmt, ...) __attribute__((format(printf, 4, 5)));

#define log_err(r, ...)   log_write_error(LOG_LEVEL_ERROR, __FILE__, (r), __VA_ARGS__)
#define log_warn(r, ...)  log_write_error(LOG_LEVEL_WARNING, __FILE__, (r), __VA_ARGS__)
#define log_error(...)    log_write(LOG_LEVEL_ERROR, __FILE__, __VA_ARGS__)
#define log_warning(...)  log_write(LOG_LEVEL_WARNING, __FILE__, __VA_ARGS__)
#define log_info(...)     log_write(LOG_LEVEL_INFO, __FILE__, __VA_ARGS__)
#define log_debug(...)    log_write(LOG_LEVEL_DEBUG, __FILE__, __VA_ARGS__)

#endif
