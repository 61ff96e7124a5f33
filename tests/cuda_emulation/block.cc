/* SPDX-License-Identifier: Apache-2.0 */
#include "block.h"

#include <cstdarg>
#include <cstdio>
#include <cstdlib>
#include <new>

#include "block_state.h"
#include "fiber.h"

namespace cuda_emulation {

__thread here now;
static __thread machine *mine;

machine *machine_here() { return mine; }

static void text_of(std::string *out, const char *format, ...) __attribute__((format(printf, 2, 3)));
static void text_of(std::string *out, const char *format, ...) {
    char line[1024];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(line, sizeof line, format, arguments);
    va_end(arguments);
    *out += line;
}

static const char *base_name(const char *path) {
    const char *slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}

/* ---- Which thread runs next */

static void enter(machine &m, unsigned t) {
    const uint3 size = now.block_size;
    now.index = t;
    now.thread = {t % size.x, t / size.x % size.y, t / (size.x * size.y)};
    m.threads[t].state = thread_state::running;
}

static void fiber_main() {
    fiber_entered();
    for (;;) {
        machine &m = *mine;
        while (m.next < m.count && m.ready_count == 0) {
            const unsigned t = m.next++;
            enter(m, t);
            m.threads[t].self = m.current;
            m.started(t);
            m.running->call(m.running->arguments);
            m.finished(t);
        }
        fiber *ended = m.current;
        ended->next = m.idle, m.idle = ended; /* this stack may serve the next thread at once: its frames are not needed any more */
        m.leave(ended);
    }
}

fiber *machine::fiber_take() {
    fiber *f = idle;
    if (f) {
        idle = f->next;
        return f;
    }
    if (fibers_made == THREADS_MOST + 1) return nullptr;
    f = &fibers[fibers_made];
    if (!fiber_init(f, STACK)) return nullptr;
    fibers_made++;
    fiber_start(f, fiber_main);
    return f;
}

/* From the fiber `from`, whose thread waits or has ended, to whatever can go on: a thread set free, a new one, else the scheduler. */
void machine::leave(fiber *from) {
    fiber *to = &scheduler;
    if (ready_count > 0) {
        const unsigned t = ready[ready_first];
        ready_first = (ready_first + 1) % THREADS_MOST, ready_count--;
        enter(*this, t);
        to = threads[t].self;
    } else if (next < count) {
        fiber *fresh = fiber_take();
        if (fresh) to = fresh;
        else if (fault.empty()) text_of(&fault, "no memory for another thread's stack");
    }
    if (to == from) return;
    current = to;
    fiber_switch(from, to);
}

void machine::release(unsigned t) {
    threads[t].state = thread_state::ready;
    ready[(ready_first + ready_count++) % THREADS_MOST] = t;
}

/* The thread in hand waits until another sets it free. */
void machine::wait() { leave(threads[now.index].self); }

/* Ends the launch: no thread of it goes on. */
void machine::stop() {
    fiber *from = current;
    current = &scheduler;
    fiber_switch(from, &scheduler);
    __builtin_unreachable();
}

void kernel_fault(const char *text) {
    machine &m = *mine;
    text_of(&m.fault, "kernel %s, block (%u, %u, %u), thread (%u, %u, %u): %s", m.running->name, now.block.x, now.block.y, now.block.z,
            now.thread.x, now.thread.y, now.thread.z, text);
    m.stop();
    abort();
}

static void fault_in_thread(const char *format, ...) __attribute__((format(printf, 1, 2), noreturn));
static void fault_in_thread(const char *format, ...) {
    char line[768];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(line, sizeof line, format, arguments);
    va_end(arguments);
    kernel_fault(line);
}

/* ---- Barriers */

void machine::started(unsigned t) { threads[t].where = {nullptr, 0}; }

void machine::finished(unsigned t) {
    threads[t].state = thread_state::ended;
    ended++;
    if (arrived > 0) fault_in_thread("ended while %u threads wait at the barrier of %s:%d", arrived, base_name(barrier.file), barrier.line);
}

int block_barrier(vote kind, int predicate, site where) {
    machine &m = *mine;
    thread_record &self = m.threads[now.index];
    if (m.ended > 0)
        fault_in_thread("waits at the barrier of %s:%d, but %u threads have ended", base_name(where.file), where.line, m.ended);
    if (m.arrived == 0) m.barrier = where, m.barrier_kind = kind, m.tally = 0;
    if (m.barrier.line != where.line || strcmp(m.barrier.file, where.file) != 0 || m.barrier_kind != kind)
        fault_in_thread("waits at the barrier of %s:%d, while %u threads wait at that of %s:%d", base_name(where.file), where.line,
                        m.arrived, base_name(m.barrier.file), m.barrier.line);
    m.tally += predicate != 0;
    self.where = where;
    if (++m.arrived < m.count) {
        self.state = thread_state::at_barrier;
        m.wait();
        return m.outcome;
    }
    m.outcome = static_cast<int>(kind == vote::conjunction ? m.tally == m.count : kind == vote::disjunction ? m.tally > 0 : m.tally);
    m.arrived = 0;
    m.races.era++;
    for (unsigned t = 0; t < m.count; t++)
        if (t != now.index) m.release(t);
    return m.outcome;
}

/* ---- Warps */

static uint32_t lanes_of(const machine &m, unsigned warp) {
    const unsigned left = m.count - warp * WARP;
    return left >= WARP ? 0xFFFFFFFFu : (1u << left) - 1;
}

/* What lane `lane` takes from the meeting of `present`; offers[lane of the warp]. */
static uint64_t outcome(meeting kind, const thread_record *warp, unsigned lane, uint32_t present) {
    const offer &own = warp[lane].given;
    const unsigned width = static_cast<unsigned>(own.width), first = lane & ~(width - 1), argument = static_cast<unsigned>(own.argument);
    unsigned from = lane;
    uint64_t all = 0;
    switch (kind) {
    case meeting::sync: return 0;
    case meeting::index: from = first | (argument & (width - 1)); break;
    case meeting::up: from = lane >= first + argument ? lane - argument : lane; break;
    case meeting::down: from = lane + argument < first + width ? lane + argument : lane; break;
    case meeting::exclusive_or: from = (lane ^ argument) < first + width ? lane ^ argument : lane; break;
    case meeting::ballot:
    case meeting::any:
    case meeting::all:
        for (unsigned l = 0; l < WARP; l++)
            if (present >> l & 1 && warp[l].given.value) all |= 1u << l;
        return kind == meeting::ballot ? all : kind == meeting::any ? all != 0 : all == present;
    case meeting::match_any:
    case meeting::match_all:
        for (unsigned l = 0; l < WARP; l++)
            if (present >> l & 1 && warp[l].given.value == own.value) all |= 1u << l;
        return kind == meeting::match_any || all == present ? all : 0;
    default: {
        bool begun = false;
        int64_t sum = 0;
        for (unsigned l = 0; l < WARP; l++) {
            if (!(present >> l & 1)) continue;
            const int64_t value = static_cast<int64_t>(warp[l].given.value); /* sign-extended or not, as its type asks */
            if (!begun) sum = value;
            else if (kind == meeting::add) sum = static_cast<int64_t>(static_cast<uint64_t>(sum) + static_cast<uint64_t>(value));
            else if (kind == meeting::least) sum = value < sum ? value : sum;
            else if (kind == meeting::most) sum = value > sum ? value : sum;
            else if (kind == meeting::bit_and) sum &= value;
            else if (kind == meeting::bit_or) sum |= value;
            else sum ^= value;
            begun = true;
        }
        return static_cast<uint64_t>(sum);
    }
    }
    if (from >= WARP || !(present >> from & 1)) return ~UINT64_C(0); /* undefined: a NaN, so that it shows */
    return warp[from].given.value;
}

static const char *meeting_name(meeting kind) {
    static const char *const names[] = {"__syncwarp",        "__shfl_sync",       "__shfl_up_sync",    "__shfl_down_sync",
                                        "__shfl_xor_sync",   "__ballot_sync",     "__any_sync",        "__all_sync",
                                        "__match_any_sync",  "__match_all_sync",  "__reduce_add_sync", "__reduce_min_sync",
                                        "__reduce_max_sync", "__reduce_and_sync", "__reduce_or_sync",  "__reduce_xor_sync"};
    return names[static_cast<int>(kind)];
}

uint64_t warp_meet(meeting kind, uint32_t mask, const offer &given, site where) {
    machine &m = *mine;
    const unsigned warp = now.index / WARP, lane = now.index % WARP;
    thread_record *lanes = &m.threads[warp * WARP], &self = lanes[lane];
    if (!(mask >> lane & 1))
        fault_in_thread("%s at %s:%d names the lanes %08X, not its own (%u)", meeting_name(kind), base_name(where.file), where.line, mask,
                        lane);
    const uint32_t expected = mask & lanes_of(m, warp);
    self.given = given, self.mask = mask, self.kind = kind, self.where = where, self.meets = true;
    uint32_t missing = expected & ~(1u << lane);
    for (uint32_t rest = missing; rest; rest &= rest - 1) {
        const unsigned l = static_cast<unsigned>(__builtin_ctz(rest));
        const thread_record &other = lanes[l];
        if (warp * WARP + l < m.next && other.state == thread_state::ended)
            fault_in_thread("%s at %s:%d (lanes %08X) waits for lane %u, which has ended", meeting_name(kind), base_name(where.file),
                            where.line, mask, l);
        if (!other.meets || other.mask != mask || other.kind != kind) continue; /* it may still come */
        missing &= ~(1u << l);
    }
    if (missing) {
        self.state = thread_state::in_warp;
        m.wait();
        return self.taken;
    }
    for (uint32_t rest = expected; rest; rest &= rest - 1) {
        const unsigned l = static_cast<unsigned>(__builtin_ctz(rest));
        lanes[l].taken = outcome(kind, lanes, l, expected);
    }
    for (uint32_t rest = expected; rest; rest &= rest - 1) {
        const unsigned l = static_cast<unsigned>(__builtin_ctz(rest));
        lanes[l].meets = false;
        if (l != lane) m.release(warp * WARP + l);
    }
    if (now.check) m.races.met(warp, expected);
    return self.taken;
}

/* ---- A launch */

/* Nobody can go on: up to four places where threads wait. */
static void tell_deadlock(machine &m) {
    text_of(&m.fault, "kernel %s, block (%u, %u, %u):", m.running->name, now.block.x, now.block.y, now.block.z);
    const thread_record *told = nullptr;
    int places = 0;
    for (unsigned t = 0; t < m.count && places < 4; t++) {
        const thread_record &r = m.threads[t];
        if (r.state != thread_state::in_warp && r.state != thread_state::at_barrier) continue;
        if (told && told->state == r.state && told->where.line == r.where.line && told->mask == r.mask) continue;
        const char *file = base_name(r.where.file);
        if (r.state == thread_state::at_barrier)
            text_of(&m.fault, "%s thread %u waits at the barrier of %s:%d", places ? "," : "", t, file, r.where.line);
        else
            text_of(&m.fault, "%s thread %u waits in %s (lanes %08X) at %s:%d", places ? "," : "", t, meeting_name(r.kind), r.mask, file,
                    r.where.line);
        told = &r, places++;
    }
    text_of(&m.fault, "; not all arrive");
}

/* After a fault frames lie on stacks that nobody returns to. */
static void stacks_reset(machine &m) {
    m.idle = nullptr;
    for (unsigned i = 0; i < m.fibers_made; i++) {
        fiber_start(&m.fibers[i], fiber_main);
        m.fibers[i].next = m.idle, m.idle = &m.fibers[i];
    }
}

bool machine::run_block() {
    next = ended = arrived = ready_first = ready_count = 0;
    arrays_count = 0, shared_used = (running->shared + 15) / 16 * 16;
    memset(shared, 0xFF, running->shared); /* undefined: NaN */
    for (unsigned t = 0; t < count; t++) threads[t].meets = false;
    if (now.check) races.block(count);
    leave(&scheduler);
    if (fault.empty() && ended < count) tell_deadlock(*this);
    if (fault.empty()) return true;
    stacks_reset(*this);
    return false;
}

static machine *machine_of_this_thread() {
    if (!mine) {
        mine = new (std::nothrow) machine;
        if (mine) fiber_adopt(&mine->scheduler);
    }
    return mine;
}

void launch_release() {
    if (!mine) return;
    for (unsigned i = 0; i < mine->fibers_made; i++) fiber_free(&mine->fibers[i]);
    delete mine;
    mine = nullptr;
}

/* Block number `index` in the order that `seed` draws: i -> (a i + b) mod count, with a having no factor in common with count. */
static uint64_t common_factor(uint64_t a, uint64_t b) { return b ? common_factor(b, a % b) : a; }

bool launch_run(const launch &l, uint64_t seed, bool check, std::string *fault) {
    machine *m = machine_of_this_thread();
    if (!m) {
        *fault = "no memory for a block";
        return false;
    }
    const uint64_t blocks = static_cast<uint64_t>(l.grid.x) * l.grid.y * l.grid.z;
    uint64_t step = 1, first = 0;
    if (seed && blocks > 1) {
        step = 1 + seed % (blocks - 1), first = (seed >> 20) % blocks;
        while (common_factor(step, blocks) != 1) step++;
    }
    const here before = now;
    now.block_size = {l.block.x, l.block.y, l.block.z}, now.grid_size = {l.grid.x, l.grid.y, l.grid.z}, now.check = check;
    m->running = &l, m->count = l.block.x * l.block.y * l.block.z;
    m->fault.clear();
    bool done = true;
    for (uint64_t i = 0, b = first; i < blocks && done; i++, b = b >= blocks - step ? b - (blocks - step) : b + step) {
        now.block = {static_cast<unsigned>(b % l.grid.x), static_cast<unsigned>(b / l.grid.x % l.grid.y),
                     static_cast<unsigned>(b / (static_cast<uint64_t>(l.grid.x) * l.grid.y))};
        done = m->run_block();
    }
    now = before;
    if (!done) *fault = m->fault;
    return done;
}

} // namespace cuda_emulation
