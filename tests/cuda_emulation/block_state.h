/* SPDX-License-Identifier: Apache-2.0 */
/* What block.cc and shared.cc know of the block in hand. */
#ifndef CUDA_EMULATION_BLOCK_STATE_H
#define CUDA_EMULATION_BLOCK_STATE_H

#include <memory>

#include "block.h"
#include "fiber.h"

namespace cuda_emulation {

enum class thread_state { ended, running, ready, at_barrier, in_warp };

struct thread_record {
    thread_state state;
    bool meets; /* its offer lies here, the others of `mask` are awaited */
    meeting kind;
    uint32_t mask;
    site where; /* it waits */
    fiber *self;
    offer given;
    uint64_t taken;
};

/* Who touched which bytes of shared memory since the last barrier, and which lanes have met since. A thread's clock counts its warp's
 * meetings; seen[i] is what it knows of lane i's clock. */
struct race_table {
    struct access {
        uint32_t era; /* barriers before it, over all blocks */
        uint32_t clock;
        uint16_t thread;
    };
    struct cell {
        access write, atomic, read[3]; /* the last of each; the last read, before it by another lane of the same warp; by another warp */
    };
    std::unique_ptr<cell[]> cells;
    uint32_t era = 0;
    uint32_t seen[THREADS_MOST][WARP];
    void block(unsigned threads);
    void met(unsigned warp, uint32_t lanes);
    bool ordered(const access &before, unsigned thread) const;
};

struct machine {
#if defined(CUDA_EMULATION_ASAN) || defined(CUDA_EMULATION_TSAN)
    static const size_t STACK = 256 << 10;
#else
    static const size_t STACK = 128 << 10;
#endif
    const launch *running;
    unsigned count, next, ended; /* threads: of the block, the next to start, those that have ended */
    unsigned arrived;            /* at the barrier */
    site barrier;
    vote barrier_kind;
    unsigned tally;
    int outcome;
    thread_record threads[THREADS_MOST];
    unsigned ready[THREADS_MOST], ready_first, ready_count; /* a ring: set free, in that order */

    fiber scheduler, *current, *idle = nullptr;
    unsigned fibers_made = 0;
    fiber fibers[THREADS_MOST + 1];

    alignas(128) char shared[SHARED_MOST];
    size_t shared_used;
    enum { ARRAYS_MOST = 64 };
    unsigned arrays_count;
    shared_array arrays[ARRAYS_MOST];
    race_table races;

    std::string fault;

    bool run_block();
    fiber *fiber_take();
    void leave(fiber *from);
    void release(unsigned t);
    void wait();
    [[noreturn]] void stop();
    void started(unsigned t);
    void finished(unsigned t);
};

machine *machine_here();

} // namespace cuda_emulation

#endif
