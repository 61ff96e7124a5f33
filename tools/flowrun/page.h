/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FLOWRUN_PAGE_H
#define FLOWRUN_PAGE_H

#include "flowrun/drive.h"

/* Writes one self-contained HTML page of a run: inputs and outputs (by graph output; NULL: not kept) drawn on one time axis where they
 * share it, with times and memory. */
int page_write(const char *path, const struct drive *drive, const struct flow_tensor *const *outputs, size_t count);

#endif
