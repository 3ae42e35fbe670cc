/* SPDX-License-Identifier: Apache-2.0 */
/* Cleanup attributes: what a function holds is released on every way out, and TAKE_PTR/TAKE_FD hand it over. */
#ifndef WEFT_BASE_CLEANUP_H
#define WEFT_BASE_CLEANUP_H

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

/* _cleanup_(x_free) struct x *p = NULL;   x_free takes a struct x ** and accepts a pointer to NULL. */
#define _cleanup_(function) __attribute__((cleanup(function)))

static inline void cleanup_free(void *pointer)
{
	free(*(void **)pointer);
}

/* errno survives, so `return -errno` after a failed call is right whatever is closed on the way. */
static inline void cleanup_close(const int *fd)
{
	int saved = errno;

	if (*fd >= 0)
		close(*fd);
	errno = saved;
}

static inline void cleanup_fclose(FILE **file)
{
	int saved = errno;

	if (*file)
		fclose(*file);
	errno = saved;
}

static inline void cleanup_closedir(DIR **dir)
{
	int saved = errno;

	if (*dir)
		closedir(*dir);
	errno = saved;
}

#define _cleanup_free_     _cleanup_(cleanup_free)
#define _cleanup_close_    _cleanup_(cleanup_close)
#define _cleanup_fclose_   _cleanup_(cleanup_fclose)
#define _cleanup_closedir_ _cleanup_(cleanup_closedir)

/* The value of `pointer`, which becomes NULL: whoever takes it owns it. */
#define TAKE_PTR(pointer) \
	({ \
		__typeof__(&(pointer)) take_from_ = &(pointer); \
		__typeof__(pointer) taken_ = *take_from_; \
		*take_from_ = NULL; \
		taken_; \
	})

#define TAKE_FD(fd) \
	({ \
		int *take_from_ = &(fd); \
		int taken_ = *take_from_; \
		*take_from_ = -1; \
		taken_; \
	})

#define ARRAY_SIZE(array) (sizeof(array) / sizeof((array)[0]))

#endif
