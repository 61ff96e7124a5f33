/* SPDX-License-Identifier: Apache-2.0 */
/* Writing a file of tensors while the program goes on: one at a time, on a worker of the loop, whole or not at all. */
#ifndef FLOW_IO_BEHIND_H
#define FLOW_IO_BEHIND_H

#include "io/io.h"

struct behind;

int must_use behind_new(struct io_loop *loop, struct behind **out);
void behind_free(struct behind *behind); /* waits; NULL is legal */
/* Waits for the write before, whose failure it reports; then begins this one. What the tensors and texts point at must stay as it is until
 * the next call of behind_start, behind_wait or behind_free. After success `remove` (or NULL) is deleted. */
int must_use behind_start(struct behind *behind, const char *path, const struct tensor_write *tensors, size_t count,
                          const char *const *metadata, const char *remove, struct report *report);
int must_use behind_wait(struct behind *behind, struct report *report); /* 0: done, or nothing was begun */
bool behind_idle(struct behind *behind);

#endif
