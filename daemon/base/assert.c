/* SPDX-License-Identifier: Apache-2.0 */
#include "base/assert.h"

#include <stdlib.h>

#include "base/log.h"

void weft_assert_failed(const char *expression, const char *file, int line, const char *function)
{
	log_error("assertion failed: %s in %s() at %s:%d", expression, function, file, line);
	abort();
}
