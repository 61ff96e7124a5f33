/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FLOWRUN_PRINT_H
#define FLOWRUN_PRINT_H

#include <flow/flow.h>
#include <stdio.h>

/* "f32 [1, 2398]" into text, which is returned. */
const char *print_type(const struct flow_tensor *tensor, char *text, size_t size);
/* All elements as nested JSON lists (NaN and infinities as null); u8 of one axis as a string. */
void print_json(FILE *out, const struct flow_tensor *tensor);
void print_string(FILE *out, const char *bytes, size_t length);
/* A line a person reads: type, range and mean or, where it is small, the elements; pairs of integers one row a line. */
void print_summary(FILE *out, const char *name, const struct flow_tensor *tensor);

#endif
