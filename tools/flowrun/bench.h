/* SPDX-License-Identifier: Apache-2.0 */
/* flowrun bench, apart: what is timed (bench_candidate.c), on which inputs (bench_inputs.c), how it is told (bench_report.c). */
#ifndef FLOWRUN_BENCH_H
#define FLOWRUN_BENCH_H

#include "flowrun/drive.h"
#include "flowrun/statistics.h"

#include <stdio.h>

enum { CANDIDATES_MOST = 64, SYMBOLS_MOST = 16 };

struct symbol {
    char name[64];
    int64_t extent;
    bool given;
};

/* One graph with one setting. */
struct candidate {
    struct command command; /* the command line's, with this setting in it */
    char label[256];        /* by which a baseline's is found: "threads=1"; of --against its words, too */
    flow_runtime *runtime;
    flow_graph *graph;
    struct drive drive;
    flow_trainer *trainer;
    int64_t trained; /* steps made */
    struct symbol symbols[SYMBOLS_MOST];
    size_t symbol_count;
    double elements;         /* a round has */
    char unit[64];           /* what they are: "B*T", "S" */
    double rate;             /* samples a second of a recording that streams; 0 */
    double load_seconds;     /* reading graph and weights */
    double first_seconds;    /* the first round: planning and packing included */
    double machine[2];       /* operations and bytes (from the second cache) a second, beside its rounds */
    int64_t warm_up, batch;  /* rounds thrown away; in each sample */
    int64_t planned, params; /* bytes */
    int64_t resident;        /* the process's peak so far */
    int threads;
    double *wall, *cpu; /* seconds of a round, by sample */
    size_t count, capacity;
    double *pieces; /* streaming: seconds of each piece */
    size_t piece_count, piece_capacity;
    double wall_sum, cpu_sum;
    int64_t preempted; /* times that the process lost a core while it was measured */
    bool over;         /* the training has ended */
};

int bench_open(struct candidate *candidate);
void bench_close(struct candidate *candidate);
/* Rounds that are thrown away until the times are steady. */
int bench_warm_up(struct candidate *candidate);
/* What the machine gives now; takes memory, so after all have warmed up. */
int bench_machine(struct candidate *candidate);
/* One sample. */
int bench_sample(struct candidate *candidate);

/* Finds the symbols of the inputs and their extents, gives random tensors to inputs that nothing feeds, counts elements. */
int bench_inputs(struct candidate *candidate);

/* `baseline`: what --baseline holds, NULL: none. *slower: some candidate is, by more than the tolerance. */
int bench_report(struct candidate *const *candidates, size_t count, const struct command *command, bool *slower);

#endif
