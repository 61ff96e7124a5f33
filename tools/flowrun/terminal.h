/* SPDX-License-Identifier: Apache-2.0 */
/* Text on a terminal: its width, lines broken to it. */
#ifndef FLOWRUN_TERMINAL_H
#define FLOWRUN_TERMINAL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

/* Columns of the terminal behind `out`, from 40 to 120; `otherwise` where it is none (COLUMNS replaces either). */
size_t terminal_width(FILE *out, size_t otherwise);
size_t terminal_columns(const char *text); /* code points, which is what a column is nearly always */
size_t terminal_columns_of(const char *text, size_t length);
/* `text` broken at spaces so that lines end before `width`; the cursor stands at column `at`, further lines begin at `indent`. Newlines in
 * the text stay. Ends on a newline. */
void terminal_wrap(FILE *out, const char *text, size_t at, size_t indent, size_t width);
void terminal_spaces(FILE *out, size_t count);

#endif
