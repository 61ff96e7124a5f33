/* SPDX-License-Identifier: Apache-2.0 */
/* A block's shared memory: where each declared array lies, and the search for races. */
#include <cstdio>
#include <new>

#include "block_state.h"
#include "shared.h"

namespace cuda_emulation {

const shared_array *shared_declare(const void *key, const char *name, size_t count, size_t element) {
    machine &m = *machine_here();
    for (unsigned i = 0; i < m.arrays_count; i++)
        if (m.arrays[i].key == key) return &m.arrays[i];
    const size_t bytes = count * element, at = (m.shared_used + 15) / 16 * 16;
    if (m.arrays_count == machine::ARRAYS_MOST || bytes > SHARED_MOST || at + bytes > SHARED_MOST)
        kernel_fault("more shared memory than a block may have");
    shared_array &a = m.arrays[m.arrays_count++];
    a = {key, name, m.shared + at, count, element, bytes};
    m.shared_used = at + bytes;
    memset(a.base, 0xFF, bytes); /* undefined: NaN */
    return &a;
}

const shared_array *shared_dynamic(const char *name, size_t count, size_t element) {
    machine &m = *machine_here();
    for (unsigned i = 0; i < m.arrays_count; i++)
        if (m.arrays[i].key == nullptr) return &m.arrays[i];
    if (m.arrays_count == machine::ARRAYS_MOST) kernel_fault("too many shared arrays");
    if (count > SHARED_MOST || count * element > m.running->shared) {
        char text[256];
        snprintf(text, sizeof text, "%s has %zu bytes of dynamic shared memory, the launch gives %zu", name, count * element,
                 m.running->shared);
        kernel_fault(text);
    }
    shared_array &a = m.arrays[m.arrays_count++];
    a = {nullptr, name, m.shared, count, element, count * element};
    return &a;
}

void shared_outside(const shared_array *array, long long index) {
    char text[256];
    if (!array) kernel_fault("a shared pointer that points nowhere");
    snprintf(text, sizeof text, "%s[%lld] is outside its %zu elements of shared memory", array->name, index, array->count);
    kernel_fault(text);
}

/* ---- Races: two accesses of two threads to the same bytes, one of them a write and not both atomic, with no barrier between and no
 * meeting of their warp between. */

void race_table::block(unsigned threads) {
    if (!cells) cells.reset(new (std::nothrow) cell[SHARED_MOST]());
    era++;
    (void)threads;
    memset(seen, 0, sizeof seen);
    for (unsigned t = 0; t < THREADS_MOST; t++) seen[t][t % WARP] = 1;
}

void race_table::met(unsigned warp, uint32_t lanes) {
    uint32_t all[WARP] = {0};
    for (unsigned l = 0; l < WARP; l++)
        for (unsigned i = 0; i < WARP && lanes >> l & 1; i++)
            if (seen[warp * WARP + l][i] > all[i]) all[i] = seen[warp * WARP + l][i];
    for (unsigned l = 0; l < WARP; l++) {
        if (!(lanes >> l & 1)) continue;
        memcpy(seen[warp * WARP + l], all, sizeof all);
        seen[warp * WARP + l][l]++;
    }
}

bool race_table::ordered(const access &before, unsigned thread) const {
    if (before.era != era || before.thread == thread) return true;
    return before.thread / WARP == thread / WARP && seen[thread][before.thread % WARP] >= before.clock;
}

void shared_touch(const shared_array *array, const void *at, size_t bytes, touch how) {
    machine &m = *machine_here();
    race_table &r = m.races;
    if (!r.cells) return;
    const unsigned t = now.index;
    const size_t offset = static_cast<size_t>(static_cast<const char *>(at) - m.shared);
    const race_table::access mark = {r.era, r.seen[t][t % WARP], static_cast<uint16_t>(t)};
    for (size_t b = offset; b < offset + bytes; b += 4) {
        race_table::cell &c = r.cells[b];
        const race_table::access *other = nullptr;
        if (!r.ordered(c.write, t)) other = &c.write;
        if (how != touch::atomic && !r.ordered(c.atomic, t)) other = &c.atomic;
        if (how != touch::read)
            for (const race_table::access &read : c.read)
                if (!other && !r.ordered(read, t)) other = &read;
        if (other) {
            char text[384];
            snprintf(text, sizeof text, "a race: %s %s[%zu], which thread %u %s, with no barrier between",
                     how == touch::read    ? "reads"
                     : how == touch::write ? "writes"
                                           : "changes",
                     array->name, static_cast<size_t>(static_cast<const char *>(at) - array->base) / array->element, other->thread,
                     other == &c.write    ? "writes"
                     : other == &c.atomic ? "changes"
                                          : "reads");
            kernel_fault(text);
        }
        if (how == touch::write) c.write = mark;
        else if (how == touch::atomic) c.atomic = mark;
        else if (c.read[0].era != r.era || c.read[0].thread == t) c.read[0] = mark;
        else {
            (c.read[0].thread / WARP == t / WARP ? c.read[1] : c.read[2]) = c.read[0];
            c.read[0] = mark;
        }
    }
}

} // namespace cuda_emulation
