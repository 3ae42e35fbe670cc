/* SPDX-License-Identifier: Apache-2.0 */
/* Options in a file: a mapping of YAML or JSON, from names as on the command line to values. */
#ifndef WEFT_KEEPER_OPTIONS_FILE_H
#define WEFT_KEEPER_OPTIONS_FILE_H

#include <stddef.h>
#include <stdio.h>

#include "base/arena.h"

/* A list is joined with commas, a mapping too, as NAME=VALUE. What is no 0 that `fn` returns ends the reading. */
typedef int (*options_file_fn)(void *arg, const char *name, const char *value, size_t line);

/* Names and values live in `memory`. -EINVAL after a complaint to `errors`; else -errno, or what `fn` returned. */
int options_file_read(const char *path, FILE *errors, struct arena *memory, options_file_fn fn, void *arg);

#endif
