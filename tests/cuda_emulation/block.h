/* SPDX-License-Identifier: Apache-2.0 */
/* A block of threads on one OS thread. Each thread runs on a fiber until it ends or must wait for others (a barrier, a warp's rendezvous);
 * then the next one runs. What goes wrong (a barrier that not all reach, a lane that does not arrive, an index out of bounds) ends the
 * launch with a text. */
#ifndef CUDA_EMULATION_BLOCK_H
#define CUDA_EMULATION_BLOCK_H

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string>

#include "vectors.h"

namespace cuda_emulation {

enum { THREADS_MOST = 1024, WARP = 32, SHARED_MOST = 227 * 1024, SHARED_STATIC_MOST = 48 * 1024 };

/* Where a kernel's source waits: by the caller's default arguments. */
struct site {
    const char *file;
    int line;
};
#define CUDA_EMULATION_SITE ::cuda_emulation::site where = {__builtin_FILE(), __builtin_LINE()}

/* What a kernel's threads see of themselves, and what is asked at each access; of this OS thread. */
struct here {
    uint3 thread, block, block_size, grid_size;
    unsigned index; /* of the thread in its block */
    bool check;     /* races on shared memory are looked for */
};
extern __thread here now __attribute__((tls_model("initial-exec"), visibility("hidden")));

/* ---- Barriers */
enum class vote { none, count, conjunction, disjunction };
int block_barrier(vote kind, int predicate, site where);

/* ---- Warps: the lanes of `mask` meet; each brings a value and takes what `meeting` makes of all. */
enum class meeting {
    sync,
    index,
    up,
    down,
    exclusive_or,
    ballot,
    any,
    all,
    match_any,
    match_all,
    add,
    least,
    most,
    bit_and,
    bit_or,
    bit_xor
};
struct offer {
    uint64_t value;
    int argument, width;
};
uint64_t warp_meet(meeting kind, uint32_t mask, const offer &given, site where);

/* ---- Shared memory */
struct shared_array {
    const void *key; /* of the declaration; NULL: the launch's dynamic memory */
    const char *name;
    char *base;
    size_t count, element, bytes;
};
const shared_array *shared_declare(const void *key, const char *name, size_t count, size_t element);
const shared_array *shared_dynamic(const char *name, size_t count, size_t element);
[[noreturn]] void shared_outside(const shared_array *array, long long index);
enum class touch { read, write, atomic };
void shared_touch(const shared_array *array, const void *at, size_t bytes, touch how);

[[noreturn]] void kernel_fault(const char *text); /* of the thread in hand */

/* ---- A launch */
struct launch {
    const char *name;
    dim3 grid, block;
    size_t shared;
    void (*call)(const void *arguments);
    const void *arguments;
};
/* Runs all blocks, in an order that `seed` draws (0: ascending), on this OS thread. False: the text says what was wrong. */
bool launch_run(const launch &l, uint64_t seed, bool check, std::string *fault);
void launch_release(); /* this OS thread's stacks and memory */

} // namespace cuda_emulation

#endif
