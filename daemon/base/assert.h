/* SPDX-License-Identifier: Apache-2.0 */
/* weft_assert(): for what only a bug in weft can break. What the world can do is an error, never an assertion. Always compiled in. */
#ifndef WEFT_BASE_ASSERT_H
#define WEFT_BASE_ASSERT_H

/* Says what broke and where on standard error and aborts. */
void weft_assert_failed(const char *expression, const char *file, int line, const char *function) __attribute__((noreturn, cold));

#define weft_assert(expression) \
	((expression) ? (void)0 : weft_assert_failed(#expression, __FILE__, __LINE__, __func__))

#endif
