/* SPDX-License-Identifier: Apache-2.0 */
/* Keeps an output's pieces and joins them along the axis they follow each other on. */
#ifndef FLOWRUN_COLLECT_H
#define FLOWRUN_COLLECT_H

#include <flow/flow.h>

struct collect {
    unsigned char *bytes; /* pieces one after the other, each row-major */
    size_t used, room;
    int64_t *extents; /* of each piece along the axis */
    size_t count;
    struct flow_tensor last; /* shape of a piece */
    int32_t axis;            /* -1: only the last piece counts */
};

int collect_add(struct collect *collect, const struct flow_tensor *piece, int32_t axis); /* 0, or an exit status after saying why */
/* The whole; *out's data is the caller's to free. */
int collect_join(const struct collect *collect, struct flow_tensor *out);
void collect_free(struct collect *collect);
/* Copies a tensor of any strides to row-major bytes. */
void tensor_pack(const struct flow_tensor *tensor, void *bytes);

#endif
