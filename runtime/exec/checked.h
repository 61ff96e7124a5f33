/* SPDX-License-Identifier: Apache-2.0 */
/* What checked.c (memory) and checked_tensors.c (what one call reads and writes) tell each other. */
#ifndef FLOW_EXEC_CHECKED_H
#define FLOW_EXEC_CHECKED_H

#include "exec/context.h"

enum { CHECKED_POISON = 0xFF };

/* The rubbish that memory holds before it is written: NaN and -1, or, every other run, large numbers, so that what is read before it is
 * written changes the result. */
static inline int checked_poison(const struct record *record) { return record->call.run & 1 ? 0x7F : CHECKED_POISON; }

enum checked_list { CHECKED_IN, CHECKED_PARAM, CHECKED_STATE, CHECKED_READ, CHECKED_COTANGENT, CHECKED_OUT, CHECKED_STATE_OUT };

/* "output 'y'": what the operator calls a tensor of the step. */
void checked_name(const struct record *record, enum checked_list list, uint32_t index, char *name, size_t size);
/* The tensor of the list that begins at `at`. */
bool checked_find(const struct record *record, enum checked_list list, const void *at, char *name, size_t size);

#endif
