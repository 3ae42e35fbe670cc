/* SPDX-License-Identifier: Apache-2.0 */
#include <err.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ctl.h"

void text_table_begin(struct text_table *table, const char *const *headings, size_t columns)
{
	*table = (struct text_table){ .columns = columns };
	for (size_t i = 0; i < columns; i++)
		text_table_add(table, headings[i]);
}

/* Configurations are other people's: their bytes must not move the cursor of whoever reads the table. */
static char *printable(const char *text)
{
	char *copy = strdup(text);

	if (!copy)
		err(1, "weftctl");
	for (char *at = copy; *at; at++) {
		if ((unsigned char)*at < 0x20 || *at == 0x7f)
			*at = '?';
	}
	return copy;
}

void text_table_add(struct text_table *table, const char *cell)
{
	size_t used = table->rows; /* cells until text_table_end() */

	if (used == table->capacity) {
		table->capacity = table->capacity ? table->capacity * 2 : 64;
		table->cells = reallocarray(table->cells, table->capacity, sizeof(*table->cells));
		if (!table->cells)
			err(1, "weftctl");
	}
	table->cells[table->rows++] = printable(cell[0] ? cell : "-");
}

void text_table_addf(struct text_table *table, const char *fmt, ...)
{
	char *cell;
	va_list args;

	va_start(args, fmt);
	if (vasprintf(&cell, fmt, args) < 0)
		err(1, "weftctl");
	va_end(args);
	text_table_add(table, cell);
	free(cell);
}

void text_table_end(struct text_table *table, int indent)
{
	const size_t rows = table->rows / table->columns;
	size_t widths[TABLE_COLUMNS_MAX] = { 0 };

	for (size_t i = 0; i < rows * table->columns; i++) {
		size_t len = strlen(table->cells[i]);

		if (len > widths[i % table->columns])
			widths[i % table->columns] = len;
	}
	for (size_t row = 0; row < rows && rows > 1; row++) {
		printf("%*s", indent, "");
		for (size_t column = 0; column < table->columns; column++) {
			const char *cell = table->cells[row * table->columns + column];
			bool is_last = column + 1 == table->columns;

			printf("%-*s%s", is_last ? 0 : (int)widths[column], cell, is_last ? "\n" : "  ");
		}
	}
	for (size_t i = 0; i < table->rows; i++)
		free(table->cells[i]);
	free(table->cells);
	*table = (struct text_table){ 0 };
}
