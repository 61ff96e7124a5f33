/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Streams and events. Each stream is a queue; workers take the first operation of a stream whose turn may have come: one that waits for an
 * event is ready when the event's record is done, one of the legacy stream when all older ones of blocking streams are, and the other way
 * round. Among ready ones, and as to when they run at all, the policy decides that the seed draws: so what no stream or event orders
 * happens in another order under another seed, and late enough to find memory changed that was still to be read.
 */
#include <algorithm>
#include <cstdio>
#include <cstdlib>

#include "block.h"
#include "device_state.h"

namespace cuda_emulation {

static thread_local cudaError_t last = cudaSuccess;

/* How long nothing must have been queued before a late policy runs operations that nobody waits for. */
static const clock::duration PATIENCE = std::chrono::milliseconds(10);

static uint64_t mixed(uint64_t x) { /* SplitMix64's finaliser */
    x += 0x9E3779B97F4A7C15u;
    x = (x ^ x >> 30) * 0xBF58476D1CE4E5B9u;
    x = (x ^ x >> 27) * 0x94D049BB133111EBu;
    return x ^ x >> 31;
}

uint64_t draw(device &d) { return d.seed == 0 ? 0 : mixed(d.seed ^ mixed(++d.draws)) | 1; }

void seed_set(device &d, uint64_t seed) {
    static const policy policies[] = {{order::any, false, false},   {order::any, true, false},   {order::any, true, true},
                                      {order::newest, true, false}, {order::fixed, true, false}, {order::fixed, true, true}};
    d.seed = seed, d.draws = 0;
    d.how = seed == 0 ? policy() : policies[mixed(seed) % (sizeof policies / sizeof policies[0])];
    d.changed.notify_all();
}

void environment_read(device &d) {
    const char *seed = getenv("FLOW_CUDA_EMULATION_SEED"), *check = getenv("FLOW_CUDA_EMULATION_CHECK");
    const char *limit = getenv("FLOW_CUDA_EMULATION_MEMORY");
    if (seed && d.seed_text != seed) d.seed_text = seed, seed_set(d, strtoull(seed, nullptr, 10));
    if (check) d.check = atoi(check) != 0;
    if (limit) d.limit = strtoll(limit, nullptr, 10);
}

device::device() {
    streams.push_back(&legacy);
    environment_read(*this);
}

device::~device() {
    {
        const holding hold(lock);
        stop = true;
    }
    changed.notify_all();
    for (std::thread &worker : workers) worker.join();
    if (check && (counts.live || live_streams || live_events || live_graphs))
        fprintf(stderr, "CUDA emulation: not freed: %lld blocks of memory (%lld bytes), %lld streams, %lld events, %lld graphs\n",
                static_cast<long long>(counts.live), static_cast<long long>(counts.live_bytes), static_cast<long long>(live_streams),
                static_cast<long long>(live_events), static_cast<long long>(live_graphs));
    for (CUstream_st *s : streams)
        if (s != &legacy && s->abandoned) delete s;
    for (const auto &b : blocks)
        if (b.second.where != place::registered && !check) free(reinterpret_cast<void *>(b.first));
}

device &the_device() {
    static device d;
    return d;
}

cudaError_t tell(device &d, cudaError_t error) {
    if (d.sticky != cudaSuccess) error = d.sticky;
    if (error != cudaSuccess) last = error;
    return error;
}

void kernel_failed(device &d, const std::string &text) {
    const holding hold(d.lock);
    fprintf(stderr, "CUDA emulation: %s\n", text.c_str());
    if (d.sticky == cudaSuccess) d.sticky = cudaErrorLaunchFailure, d.fault = text;
}

CUstream_st *stream_of(device &d, cudaStream_t s) { return s == nullptr || s == cudaStreamLegacy ? &d.legacy : s; }

/* ---- Which operation runs next ---- */

static bool older(const CUstream_st *s, uint64_t number) { return !s->queue.empty() && s->queue.front().number < number; }

static bool ready(device &d, const CUstream_st *s) {
    if (s->running || s->queue.empty()) return false;
    const operation &o = s->queue.front();
    if (o.waits && !o.waits->done) return false;
    if (s == &d.legacy) {
        for (const CUstream_st *t : d.streams)
            if (t != s && t->blocking && older(t, o.number)) return false;
        return true;
    }
    return !s->blocking || !older(&d.legacy, o.number);
}

/* The streams that those who wait depend on, now. */
static void needed(device &d, std::vector<const CUstream_st *> *out) {
    const auto add = [out](const CUstream_st *s) {
        if (s && std::find(out->begin(), out->end(), s) == out->end()) out->push_back(s);
    };
    for (const waiter &w : d.waiters) add(w.stream ? w.stream : w.reached->home);
    for (size_t i = 0; i < out->size(); i++) {
        const CUstream_st *s = (*out)[i];
        if (s->queue.empty()) continue;
        const operation &o = s->queue.front();
        if (o.waits && !o.waits->done) add(o.waits->home);
        for (const CUstream_st *t : d.streams)
            if (t != s && t->blocking && s->blocking && (s == &d.legacy || t == &d.legacy) && older(t, o.number)) add(t);
    }
}

static bool may_run(device &d) {
    if (!d.how.late || !d.waiters.empty() || d.urgent > 0 || d.credits > 0) return true;
    return clock::now() - d.last_call >= PATIENCE;
}

static CUstream_st *choose(device &d) {
    if (!may_run(d)) return nullptr;
    std::vector<const CUstream_st *> wanted;
    const bool minimal = d.how.minimal && !d.waiters.empty();
    if (minimal) needed(d, &wanted);
    CUstream_st *found = nullptr;
    uint64_t best = 0, count = 0;
    for (CUstream_st *s : d.streams) {
        if (!ready(d, s)) continue;
        if (minimal && std::find(wanted.begin(), wanted.end(), s) == wanted.end()) continue;
        uint64_t rank = 0; /* the highest is taken */
        if (d.how.by == order::as_queued) rank = ~s->queue.front().number;
        else if (d.how.by == order::newest) rank = s->id;
        else if (d.how.by == order::fixed) rank = mixed(d.seed ^ s->id);
        else {
            count++;
            if (draw(d) / 2 % count == 0) found = s;
            continue;
        }
        if (!found || rank > best) found = s, best = rank;
    }
    return found;
}

/* ---- Workers ---- */

static void complete(device &d, CUstream_st *s) {
    const operation o = std::move(s->queue.front());
    s->queue.pop_front();
    s->running = false, s->done = o.number;
    if (o.records) o.records->done = true, o.records->time = clock::now(), o.records->home = nullptr;
    d.pending--, d.urgent -= o.urgent;
    if (s->abandoned && s->queue.empty()) {
        d.streams.remove(s);
        delete s;
    }
    d.finished.notify_all();
    if (d.workers.size() > 1) d.changed.notify_all();
}

static void serve(device &d) {
    holding hold(d.lock);
    while (!d.stop) {
        CUstream_st *s = choose(d);
        if (!s) {
            if (d.pending > 0 && !may_run(d)) d.changed.wait_until(hold, d.last_call + PATIENCE + std::chrono::milliseconds(1));
            else d.changed.wait(hold);
            continue;
        }
        if (d.credits > 0) d.credits--;
        operation &o = s->queue.front(); /* stays there, and a deque does not move it, while others are queued behind */
        s->running = true;
        if (o.run && (o.always || d.sticky == cudaSuccess)) {
            const std::shared_ptr<work> run = o.run;
            const uint64_t number = draw(d);
            hold.unlock();
            (*run)(number);
            hold.lock();
        }
        complete(d, s);
    }
    hold.unlock();
    launch_release();
}

static void workers_start(device &d) {
    if (!d.workers.empty()) return;
    const char *count = getenv("FLOW_CUDA_EMULATION_WORKERS");
    const int workers = count ? std::max(1, std::min(atoi(count), 16)) : 1;
    for (int i = 0; i < workers; i++) d.workers.emplace_back([&d] { serve(d); });
}

static void push(device &d, CUstream_st *s, operation o) {
    workers_start(d);
    o.number = s->queued = ++d.numbers;
    s->queue.push_back(std::move(o));
    d.last_call = clock::now();
    const bool first = d.pending++ == 0; /* a late policy's patience begins */
    if (!d.how.late || first || d.urgent > 0 || !d.waiters.empty()) d.changed.notify_all();
}

cudaError_t queue(device &d, CUstream_st *s, work run, bool always, bool urgent) {
    if (d.sticky != cudaSuccess && !always) return d.sticky;
    const auto shared = std::make_shared<work>(std::move(run));
    if (s->capturing) return capture_add(s, shared);
    if (s == &d.legacy && capture_breaks_legacy(d)) return cudaErrorStreamCaptureImplicit;
    d.urgent += urgent;
    push(d, s, {0, shared, nullptr, nullptr, always, urgent});
    return cudaSuccess;
}

void queue_mark(device &d, CUstream_st *s, std::shared_ptr<mark> waits, std::shared_ptr<mark> records) {
    if (records) records->home = s;
    push(d, s, {0, nullptr, std::move(waits), std::move(records), true, false});
}

cudaError_t queue_call(cudaStream_t s, std::function<void()> run) {
    device &d = the_device();
    const holding hold(d.lock);
    d.counts.launches++;
    return tell(d, queue(d, stream_of(d, s), [run](uint64_t) { run(); }));
}

/* ---- Waiting ---- */

template <typename F> static void wait_until(device &d, holding &hold, const waiter &w, F reached) {
    if (reached()) return;
    const auto place = d.waiters.insert(d.waiters.end(), w);
    d.changed.notify_all();
    d.finished.wait(hold, reached);
    d.waiters.erase(place);
    if (d.how.late && d.pending > 0) d.changed.notify_all(); /* what nobody waits for may have its time now */
}

void wait_stream(device &d, holding &hold, CUstream_st *s) {
    const uint64_t number = s->queued;
    wait_until(d, hold, {s, number, nullptr}, [s, number] { return s->done >= number; });
}

void wait_mark(device &d, holding &hold, const std::shared_ptr<mark> &m) {
    wait_until(d, hold, {nullptr, 0, m.get()}, [&m] { return m->done; });
}

void wait_all(device &d, holding &hold) {
    std::vector<std::shared_ptr<mark>> marks;
    for (CUstream_st *s : d.streams) {
        if (s->queue.empty() || s->capturing) continue;
        const auto m = std::make_shared<mark>();
        queue_mark(d, s, nullptr, m);
        marks.push_back(m);
    }
    for (const auto &m : marks) wait_mark(d, hold, m);
}

/* ---- Launches ---- */

static bool fits(device &d, const void *kernel, dim3 grid, dim3 block, size_t shared) {
    const uint64_t threads = static_cast<uint64_t>(block.x) * block.y * block.z;
    if (threads == 0 || threads > THREADS_MOST || block.z > 64) return false;
    if (grid.x == 0 || grid.y == 0 || grid.z == 0 || grid.x > 0x7FFFFFFFu || grid.y > 65535 || grid.z > 65535) return false;
    const auto most = d.shared_most.find(kernel);
    return shared <= static_cast<size_t>(most == d.shared_most.end() ? SHARED_STATIC_MOST : most->second);
}

int launch_queue(const char *name, const void *kernel, dim3 grid, dim3 block, size_t shared, cudaStream_t stream,
                 void (*call)(const void *), void *arguments, void (*forget)(void *));
int launch_queue(const char *name, const void *kernel, dim3 grid, dim3 block, size_t shared, cudaStream_t stream,
                 void (*call)(const void *), void *arguments, void (*forget)(void *)) {
    device &d = the_device();
    const std::shared_ptr<void> values(arguments, forget);
    const holding hold(d.lock);
    d.counts.launches++;
    const auto run = [&d, name, grid, block, shared, call, values](uint64_t number) {
        std::string fault;
        const launch l = {name, grid, block, shared, call, values.get()};
        if (!launch_run(l, number, d.check, &fault)) kernel_failed(d, fault);
    };
    (void)tell(d, fits(d, kernel, grid, block, shared) ? queue(d, stream_of(d, stream), run) : cudaErrorInvalidConfiguration);
    const cudaError_t error = last;
    last = cudaSuccess;
    return static_cast<int>(error);
}

} // namespace cuda_emulation

using namespace cuda_emulation;

extern "C" {

cudaError_t cudaGetLastError() {
    device &d = the_device();
    const holding hold(d.lock);
    const cudaError_t error = d.sticky != cudaSuccess ? d.sticky : last;
    last = cudaSuccess;
    return error;
}
cudaError_t cudaPeekAtLastError() {
    device &d = the_device();
    const holding hold(d.lock);
    return d.sticky != cudaSuccess ? d.sticky : last;
}

cudaError_t cudaDeviceSynchronize() {
    device &d = the_device();
    holding hold(d.lock);
    if (capture_breaks_any(d)) return tell(d, cudaErrorStreamCaptureUnsupported);
    wait_all(d, hold);
    return tell(d, cudaSuccess);
}

cudaError_t cudaDeviceGetStreamPriorityRange(int *least, int *greatest) {
    *least = 0, *greatest = -5;
    return cudaSuccess;
}

/* ---- Streams ---- */

cudaError_t cudaStreamCreateWithPriority(cudaStream_t *out, unsigned int flags, int priority) {
    device &d = the_device();
    const holding hold(d.lock);
    *out = nullptr;
    if (d.sticky != cudaSuccess || flags > cudaStreamNonBlocking) return tell(d, cudaErrorInvalidValue);
    CUstream_st *s = new CUstream_st;
    s->blocking = flags != cudaStreamNonBlocking;
    s->priority = std::max(-5, std::min(priority, 0));
    s->id = ++d.streams_made;
    d.streams.push_back(s);
    d.live_streams++;
    *out = s;
    return cudaSuccess;
}
cudaError_t cudaStreamCreateWithFlags(cudaStream_t *out, unsigned int flags) { return cudaStreamCreateWithPriority(out, flags, 0); }
cudaError_t cudaStreamCreate(cudaStream_t *out) { return cudaStreamCreateWithPriority(out, cudaStreamDefault, 0); }
cudaError_t cudaStreamGetPriority(cudaStream_t s, int *priority) {
    *priority = stream_of(the_device(), s)->priority;
    return cudaSuccess;
}

cudaError_t cudaStreamDestroy(cudaStream_t s) {
    device &d = the_device();
    const holding hold(d.lock);
    if (stream_of(d, s) == &d.legacy) return tell(d, cudaErrorInvalidResourceHandle);
    if (s->capturing) {
        const auto c = s->capturing;
        c->invalid = true;
        if (c->origin == s) capture_end(d, c);
    }
    d.live_streams--;
    if (!s->queue.empty()) { /* what is queued still runs */
        s->abandoned = true;
        return tell(d, cudaSuccess);
    }
    d.streams.remove(s);
    delete s;
    return tell(d, cudaSuccess);
}

cudaError_t cudaStreamSynchronize(cudaStream_t handle) {
    device &d = the_device();
    holding hold(d.lock);
    CUstream_st *s = stream_of(d, handle);
    if (capture_breaks(s)) return tell(d, cudaErrorStreamCaptureUnsupported);
    wait_stream(d, hold, s);
    return tell(d, cudaSuccess);
}

cudaError_t cudaStreamQuery(cudaStream_t handle) {
    device &d = the_device();
    const holding hold(d.lock);
    CUstream_st *s = stream_of(d, handle);
    if (capture_breaks(s)) return tell(d, cudaErrorStreamCaptureUnsupported);
    if (s->done >= s->queued) return tell(d, cudaSuccess);
    d.credits++; /* who asks again and again comes to an end */
    d.changed.notify_all();
    return tell(d, cudaErrorNotReady);
}

cudaError_t cudaLaunchHostFunc(cudaStream_t s, cudaHostFn_t call, void *data) {
    device &d = the_device();
    const holding hold(d.lock);
    d.counts.host_functions++;
    return tell(d, queue(
                       d, stream_of(d, s), [call, data](uint64_t) { call(data); }, false, true));
}

/* ---- Events ---- */

cudaError_t cudaEventCreateWithFlags(cudaEvent_t *out, unsigned int flags) {
    device &d = the_device();
    const holding hold(d.lock);
    *out = new CUevent_st;
    (*out)->flags = flags;
    d.live_events++;
    return tell(d, cudaSuccess);
}
cudaError_t cudaEventCreate(cudaEvent_t *out) { return cudaEventCreateWithFlags(out, cudaEventDefault); }

cudaError_t cudaEventDestroy(cudaEvent_t e) {
    device &d = the_device();
    const holding hold(d.lock);
    if (!e) return tell(d, cudaErrorInvalidResourceHandle);
    d.live_events--;
    delete e;
    return tell(d, cudaSuccess);
}

cudaError_t cudaEventRecord(cudaEvent_t e, cudaStream_t handle) {
    device &d = the_device();
    const holding hold(d.lock);
    CUstream_st *s = stream_of(d, handle);
    d.counts.records++;
    if (s->capturing) {
        if (s->capturing->invalid) return tell(d, cudaErrorStreamCaptureInvalidated);
        e->captured = s->capturing, e->tips = s->tips, e->last = nullptr;
        return tell(d, cudaSuccess);
    }
    if (s == &d.legacy && capture_breaks_legacy(d)) return tell(d, cudaErrorStreamCaptureImplicit);
    e->captured = nullptr, e->tips.clear();
    e->last = std::make_shared<mark>();
    queue_mark(d, s, nullptr, e->last);
    return tell(d, cudaSuccess);
}
cudaError_t cudaEventRecordWithFlags(cudaEvent_t e, cudaStream_t s, unsigned int) { return cudaEventRecord(e, s); }

cudaError_t cudaStreamWaitEvent(cudaStream_t handle, cudaEvent_t e, unsigned int) {
    device &d = the_device();
    const holding hold(d.lock);
    CUstream_st *s = stream_of(d, handle);
    d.counts.waits++;
    if (d.ignore > 0 && --d.ignore == 0) return tell(d, cudaSuccess);
    if (e->captured) { /* the stream joins the capture, or two of its streams meet */
        if (e->captured->ended) return tell(d, cudaErrorCapturedEvent);
        if (e->captured->invalid) return tell(d, cudaErrorStreamCaptureInvalidated);
        if (s == &d.legacy) {
            e->captured->invalid = true;
            return tell(d, cudaErrorStreamCaptureImplicit);
        }
        if (s->capturing && s->capturing != e->captured) {
            e->captured->invalid = s->capturing->invalid = true;
            return tell(d, cudaErrorStreamCaptureMerge);
        }
        s->capturing = e->captured;
        for (const size_t tip : e->tips)
            if (std::find(s->tips.begin(), s->tips.end(), tip) == s->tips.end()) s->tips.push_back(tip);
        return tell(d, cudaSuccess);
    }
    if (s->capturing) { /* on something outside */
        s->capturing->invalid = true;
        return tell(d, cudaErrorStreamCaptureIsolation);
    }
    if (e->last && !e->last->done) queue_mark(d, s, e->last, nullptr);
    return tell(d, cudaSuccess);
}

static bool captured(CUevent_st *e) {
    if (e->captured) e->captured->invalid = true;
    return e->captured != nullptr;
}

cudaError_t cudaEventQuery(cudaEvent_t e) {
    device &d = the_device();
    const holding hold(d.lock);
    if (captured(e)) return tell(d, cudaErrorCapturedEvent);
    if (capture_breaks_unsafe(d)) return tell(d, cudaErrorStreamCaptureUnsupported);
    if (!e->last || e->last->done) return tell(d, cudaSuccess);
    d.credits++;
    d.changed.notify_all();
    return tell(d, cudaErrorNotReady);
}

cudaError_t cudaEventSynchronize(cudaEvent_t e) {
    device &d = the_device();
    holding hold(d.lock);
    if (captured(e)) return tell(d, cudaErrorCapturedEvent);
    const std::shared_ptr<mark> m = e->last;
    if (m) wait_mark(d, hold, m);
    return tell(d, cudaSuccess);
}

cudaError_t cudaEventElapsedTime(float *ms, cudaEvent_t a, cudaEvent_t b) {
    device &d = the_device();
    const holding hold(d.lock);
    *ms = 0;
    if (captured(a) || captured(b)) return tell(d, cudaErrorCapturedEvent);
    if (!a->last || !b->last || (a->flags | b->flags) & cudaEventDisableTiming) return tell(d, cudaErrorInvalidResourceHandle);
    if (!a->last->done || !b->last->done) return tell(d, cudaErrorNotReady);
    *ms = std::chrono::duration<float, std::milli>(b->last->time - a->last->time).count();
    return tell(d, cudaSuccess);
}

} // extern "C"
