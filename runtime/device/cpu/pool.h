/* SPDX-License-Identifier: Apache-2.0 */
/* The workers of one device. `threads` - 1 of them; whoever calls pool_for is the last. Waits spin for a bounded time and then sleep, and
 * not at all when there are fewer cores than threads, so that a pool on a busy machine costs its neighbours nothing. */
#ifndef FLOW_DEVICE_CPU_POOL_H
#define FLOW_DEVICE_CPU_POOL_H

#include "base/memory.h"
#include "base/trace.h"

#include <pthread.h>
#include <stdatomic.h>

enum {
    POOL_JOBS = 16,    /* loops under way at once; one more runs on its caller alone */
    POOL_SPIN = 20000, /* ns a waiting thread spins: about what a sleep and a wake would cost */
    POOL_THREADS_MAX = 512
};

typedef void (*pool_body)(void *context, int64_t begin, int64_t end);

/* One loop under way. Its caller fills in the plain members while the gate is closed; a worker reads them only after it has entered
 * through an open gate, and the caller returns only when all have left. */
struct pool_job {
    _Alignas(64) _Atomic uint32_t gate; /* POOL_OPEN, POOL_SLEEPS (the caller), and the number of workers inside */
    atomic_bool taken;
    pool_body body;
    void *context;
    int64_t count, grain, pieces;
    const struct trace_label *label;   /* for the trace: pieces of what its caller is at; NULL */
    _Alignas(64) _Atomic int64_t next; /* piece to be handed out */
};

struct pool {
    const struct allocator *from;
    int32_t threads;
    int32_t spin;                 /* ns */
    bool (*serve)(void *context); /* other work for idle workers: false when there is none */
    void *context;
    struct trace *trace; /* NULL; set before pool_init, which leaves it */
    pthread_t *workers;
    int32_t started;
    _Alignas(64) _Atomic uint32_t epoch; /* changes whenever there may be something new to do */
    _Atomic uint32_t sleepers;
    atomic_bool stop;
    struct pool_job jobs[POOL_JOBS];
};

int must_use pool_init(struct pool *pool, const struct allocator *from, int threads, bool (*serve)(void *context), void *context);
void pool_free(struct pool *pool); /* nothing may be under way */

/* body(context, begin, end) over [0, count) in pieces of `grain`. From any thread; from inside a body it runs on that thread alone. */
void pool_for(struct pool *pool, int64_t count, int64_t grain, pool_body body, void *context);
/* Whether pool_for would spread from this thread. */
bool pool_spreads(const struct pool *pool);

/* For those who wait for something else. Read the epoch, look for what is waited for, help, and if there was nothing to help with, idle:
 * it returns when the epoch has changed. Whoever brings the news calls pool_signal, which wakes at most `most` sleepers. */
uint32_t pool_epoch(struct pool *pool);
bool pool_help(struct pool *pool);
void pool_idle(struct pool *pool, uint32_t epoch);
void pool_signal(struct pool *pool, int64_t most);

#endif
