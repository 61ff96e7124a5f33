/* SPDX-License-Identifier: Apache-2.0 */
#include "device/cpu/pool.h"

#include "base/plain.h"

#include <flow/plugin.h>

#include <limits.h>
#include <linux/futex.h>
#include <sched.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define POOL_OPEN 0x80000000u
#define POOL_SLEEPS 0x40000000u
#define POOL_INSIDE 0x3fffffffu

/* Set while this thread runs pieces: loops inside loops are not spread again. */
static _Thread_local bool in_body;

static void futex_wait(_Atomic uint32_t *word, uint32_t value) { syscall(SYS_futex, word, FUTEX_WAIT_PRIVATE, value, NULL, NULL, 0); }

static void futex_wake(_Atomic uint32_t *word, int64_t most) {
    syscall(SYS_futex, word, FUTEX_WAKE_PRIVATE, most < INT_MAX ? (int)most : INT_MAX, NULL, NULL, 0);
}

static void pause_briefly(void) {
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

static int64_t now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

/* Spins until (word & mask) differs from `value`; false when the time is up. */
static bool spin(const struct pool *pool, _Atomic uint32_t *word, uint32_t mask, uint32_t value) {
    int64_t end = 0;
    for (int32_t round = 0; pool->spin > 0; round++) {
        for (int i = 0; i < 32; i++) {
            if ((atomic_load_explicit(word, memory_order_acquire) & mask) != value) return true;
            pause_briefly();
        }
        int64_t time = now();
        if (round == 0) end = time + pool->spin;
        else if (time >= end) break;
    }
    return false;
}

/* ---- Sleeping and waking ---- */

uint32_t pool_epoch(struct pool *pool) { return atomic_load_explicit(&pool->epoch, memory_order_acquire); }

/* A sleeper counts itself before the kernel compares the epoch, a signaller changes the epoch before it reads the count: one of the two
 * sees the other. */
void pool_idle(struct pool *pool, uint32_t epoch) {
    if (spin(pool, &pool->epoch, UINT32_MAX, epoch)) return;
    atomic_fetch_add(&pool->sleepers, 1);
    futex_wait(&pool->epoch, epoch);
    atomic_fetch_sub(&pool->sleepers, 1);
}

void pool_signal(struct pool *pool, int64_t most) {
    atomic_fetch_add(&pool->epoch, 1);
    if (atomic_load(&pool->sleepers) > 0) futex_wake(&pool->epoch, most);
}

/* ---- Loops ---- */

static void run_piece(struct trace *trace, const struct pool_job *job, int64_t piece) {
    int64_t begin = piece * job->grain;
    int64_t end = job->count - begin > job->grain ? begin + job->grain : job->count;
    if (!trace || !job->label) {
        job->body(job->context, begin, end);
        return;
    }
    const struct trace_span span = trace_begin(trace, job->label);
    job->body(job->context, begin, end);
    trace_end(&span, piece);
}

static bool run_pieces(struct pool *pool, struct pool_job *job) {
    bool any = false;
    in_body = true;
    for (;;) {
        int64_t piece = atomic_fetch_add_explicit(&job->next, 1, memory_order_relaxed);
        if (piece >= job->pieces) break;
        run_piece(pool->trace, job, piece);
        any = true;
    }
    in_body = false;
    return any;
}

bool pool_help(struct pool *pool) {
    if (in_body) return false;
    bool any = false;
    for (int i = 0; i < POOL_JOBS; i++) {
        struct pool_job *job = &pool->jobs[i];
        if (!(atomic_load_explicit(&job->gate, memory_order_relaxed) & POOL_OPEN)) continue;
        if (atomic_fetch_add_explicit(&job->gate, 1, memory_order_acquire) & POOL_OPEN) any |= run_pieces(pool, job);
        uint32_t left = atomic_fetch_sub_explicit(&job->gate, 1, memory_order_release);
        if ((left & POOL_SLEEPS) && (left & POOL_INSIDE) == 1) futex_wake(&job->gate, 1);
    }
    return any;
}

static struct pool_job *claim(struct pool *pool) {
    for (int i = 0; i < POOL_JOBS; i++) {
        struct pool_job *job = &pool->jobs[i];
        if (!atomic_load_explicit(&job->taken, memory_order_relaxed) && !atomic_exchange_explicit(&job->taken, true, memory_order_acquire))
            return job;
    }
    return NULL;
}

static void run_alone(int64_t count, int64_t grain, pool_body body, void *context) {
    for (int64_t begin = 0; begin < count; begin += grain) {
        if (count - begin <= grain) {
            body(context, begin, count);
            return;
        }
        body(context, begin, begin + grain);
    }
}

/* Closes the gate and waits until all workers have left. */
static void wait_job(struct pool *pool, struct pool_job *job) {
    uint32_t gate = atomic_fetch_and_explicit(&job->gate, ~POOL_OPEN, memory_order_acquire) & POOL_INSIDE;
    while (gate & POOL_INSIDE) {
        if (!spin(pool, &job->gate, UINT32_MAX, gate)) {
            gate = atomic_fetch_or_explicit(&job->gate, POOL_SLEEPS, memory_order_acquire) | POOL_SLEEPS;
            if (gate & POOL_INSIDE) futex_wait(&job->gate, gate);
            atomic_fetch_and_explicit(&job->gate, ~POOL_SLEEPS, memory_order_acquire);
        }
        gate = atomic_load_explicit(&job->gate, memory_order_acquire);
    }
}

bool pool_spreads(const struct pool *pool) { return pool->threads > 1 && !in_body; }

void pool_for(struct pool *pool, int64_t count, int64_t grain, pool_body body, void *context) {
    if (count <= 0) return;
    if (grain < 1) grain = 1;
    struct pool_job *job = count > grain && pool_spreads(pool) ? claim(pool) : NULL;
    if (!job) {
        run_alone(count, grain, body, context);
        return;
    }
    job->body = body, job->context = context;
    job->count = count, job->grain = grain, job->pieces = (count - 1) / grain + 1;
    job->label = pool->trace ? trace_pieces(pool->trace) : NULL;
    atomic_store_explicit(&job->next, 0, memory_order_relaxed);
    atomic_fetch_or(&job->gate, POOL_OPEN);
    pool_signal(pool, job->pieces - 1 < pool->threads - 1 ? job->pieces - 1 : pool->threads - 1);
    run_pieces(pool, job);
    wait_job(pool, job);
    atomic_store_explicit(&job->taken, false, memory_order_release);
}

/* ---- Workers ---- */

static void *work(void *argument) {
    struct pool *pool = argument;
    (void)plain_begin();
    trace_thread(pool->trace, "worker");
    for (;;) {
        uint32_t epoch = pool_epoch(pool);
        if (atomic_load(&pool->stop)) return NULL;
        if (!pool_help(pool) && !pool->serve(pool->context)) pool_idle(pool, epoch);
    }
}

static int cores(void) {
    cpu_set_t set;
    if (sched_getaffinity(0, sizeof set, &set) == 0 && CPU_COUNT(&set) > 0) return CPU_COUNT(&set);
    long count = sysconf(_SC_NPROCESSORS_ONLN);
    return count > 0 ? (int)(count < POOL_THREADS_MAX ? count : POOL_THREADS_MAX) : 1;
}

int pool_init(struct pool *pool, const struct allocator *from, int threads, bool (*serve)(void *context), void *context) {
    int available = cores();
    if (threads <= 0) threads = available;
    if (threads > POOL_THREADS_MAX) threads = POOL_THREADS_MAX;
    pool->from = from, pool->threads = threads, pool->spin = threads > available ? 0 : POOL_SPIN;
    pool->serve = serve, pool->context = context;
    if (threads == 1) return FLOW_OK;
    pool->workers = memory_array(from, (size_t)threads - 1, sizeof *pool->workers);
    if (!pool->workers) return FLOW_ERROR_MEMORY;
    for (; pool->started < threads - 1; pool->started++)
        if (pthread_create(&pool->workers[pool->started], NULL, work, pool) != 0) {
            pool_free(pool);
            return FLOW_ERROR_MEMORY;
        }
    return FLOW_OK;
}

void pool_free(struct pool *pool) {
    atomic_store(&pool->stop, true);
    pool_signal(pool, INT_MAX);
    for (int32_t i = 0; i < pool->started; i++) pthread_join(pool->workers[i], NULL);
    if (pool->workers) memory_free(pool->from, pool->workers, ((size_t)pool->threads - 1) * sizeof *pool->workers);
    pool->workers = NULL, pool->started = 0;
}
