/* SPDX-License-Identifier: Apache-2.0 */
/* Inside batches: the ring (batches.c) and what a source may ask of its host (source_host.c). */
#ifndef FLOW_IO_BATCHES_PRIVATE_H
#define FLOW_IO_BATCHES_PRIVATE_H

#include "base/trace.h"
#include "io/batches.h"
#include "io/internal.h"
#include "io/loop.h"

#include <stdatomic.h>

enum { OUTPUTS_MOST = 64, SOURCE_FILES_MOST = 1 << 16 };

/* A file that the source opened, to be read at any place by any thread. */
struct source_file {
    struct source_file *next;
    const char *path; /* as it was asked for */
    int file;         /* -1: opened for each read */
    int64_t bytes;
    struct tensor_file *tensors; /* NULL: a plain file */
};

struct output {
    const char *name;
    bool whole;
    struct flow_tensor type; /* of a batch, no data */
    int64_t bytes, offset;   /* of a batch; in the slot's block */
};

/* Who asks: one batch, or open. The first complaint is kept. */
struct source_call {
    struct batches *batches;
    bool opening;
    int code;
    struct text words;
};

enum slot_state { SLOT_FREE, SLOT_FILLING, SLOT_READY };

struct slot {
    atomic_int state; /* enum slot_state; changed under the lock */
    int64_t number;   /* of its batch */
    struct source_call call;
    struct flow_tensor *tensors;
    int64_t *rows;
    void *block;
};

struct worker {
    struct io_work work;
    struct batches *batches;
    bool busy; /* the loop has it */
};

struct batches {
    struct io_loop *loop;
    const struct allocator *from;
    struct batches_options options;
    /* what open gave */
    struct arena arena; /* the source's memory, names, paths */
    struct source_file *files;
    int32_t file_count;
    struct output *outputs;
    uint32_t output_count;
    void *state;
    int64_t rows;               /* of the source */
    int64_t row_first, row_end; /* of the split */
    int64_t batch, in_epoch;
    bool once; /* every epoch is the one same batch: it is filled once */
    /* the ring; `lock` guards all that follows */
    pthread_mutex_t lock;
    pthread_cond_t changed;
    struct slot *slots;
    struct worker *workers;
    int32_t slot_count, worker_count;
    int64_t block_bytes;
    int64_t fill_next, take_next;                                    /* numbers */
    bool holding;                                                    /* the caller has batch take_next - 1 */
    bool failed, ended;                                              /* a batch could not be read; the loop is gone */
    const struct trace_label *fill_label, *wait_label, *ready_label; /* NULL: no trace */
    bool waiting;                                                    /* the caller, for batch take_next */
    bool opened;
    atomic_bool cancelled, closing;
    double waited;
    double read_due; /* throttled reading: when the bytes read so far are through, in seconds */
};

/* ---- source_host.c ---- */

extern const struct flow_source_host batches_host;
void batches_call_init(struct source_call *call, struct batches *batches, bool opening);
void batches_call_free(struct source_call *call);
void batches_files_close(struct batches *batches);
double batches_now(void); /* seconds, monotonic */

#endif
