/* SPDX-License-Identifier: Apache-2.0 */
/* X-P0, X-P1 ...: header lines that bring a head to the size that a schedule wants, and whose values can be checked. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "message.h"

/* About `total` bytes of header lines; returns the length written. */
size_t pads_write(char *out, size_t len, uint64_t key, uint64_t total);

/* Whether exactly those lines, each once, stand in `head`. */
bool pads_check(const struct head *head, uint64_t key, uint64_t total);
