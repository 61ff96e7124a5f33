/* SPDX-License-Identifier: Apache-2.0 */
/* Batches of a source (flow/plugin.h), made ahead of whoever takes them. The source is a table of rows; here its rows are split, shuffled,
 * cut into batches and read by the loop's workers into a bounded ring of buffers: a full ring stops reading. What a batch holds is a
 * function of the seed and its number alone, so reading goes on from any number, with any count of workers, bit for bit. */
#ifndef FLOW_IO_BATCHES_H
#define FLOW_IO_BATCHES_H

#include "io/io.h"

#include <flow/plugin.h>

struct batches;

struct batches_options {
    const struct flow_source *source;
    const void *attrs;           /* the source's own, parsed; must stay */
    const char *path;            /* as the graph gives it; NULL */
    const char *base;            /* folder that relative paths start from */
    struct position at;          /* of the entry in the graph, for messages */
    int64_t batch;               /* rows; -1: all (one batch is one epoch) */
    bool shuffle;                /* anew in each epoch, by a permutation that needs no memory */
    bool keep_last;              /* the last batch of an epoch may have fewer rows; else it is left out */
    double split_from, split_to; /* this share of the rows, by number: [0, 1) is all of them */
    uint64_t seed;
    int32_t ahead;   /* batches in the ring; 0: 4 */
    int32_t workers; /* that fill at one time; 0: 2. The order of batches does not depend on it */
    int64_t first;   /* number of the first batch, counted over all epochs */
    double rate;     /* most bytes a second that are read from files: a slow device, for trying; 0: no limit */
};

/* Opens the source on a worker and waits for it. To be closed before the loop is freed. */
int must_use batches_open(struct io_loop *loop, const struct batches_options *options, struct report *report, struct batches **out);
void batches_close(struct batches *batches); /* NULL is legal. Waits for what is being read */

size_t batches_outputs(const struct batches *batches);
const char *batches_name(const struct batches *batches, size_t output);
/* Type of an output; shape[0] is the batch's rows (the most there can be), or, whole, as declared. */
const struct flow_tensor *batches_type(const struct batches *batches, size_t output);
int64_t batches_rows(const struct batches *batches);     /* in the split; INT64_MAX: endless */
int64_t batches_in_epoch(const struct batches *batches); /* batches; INT64_MAX: endless */
/* Waits for the next batch: its tensors, by output, valid until the next call; its number, from options.first on. */
int must_use batches_next(struct batches *batches, struct report *report, const struct flow_tensor **tensors, int64_t *number);
double batches_waited(const struct batches *batches); /* seconds spent in batches_next, waiting */
/* Wakes a waiting batches_next, which gives FLOW_ERROR_CANCELLED. [any thread] */
void batches_cancel(struct batches *batches);

#endif
