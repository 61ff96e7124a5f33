/* SPDX-License-Identifier: Apache-2.0 */
/* The emulated device: one a process, as the real one's context is. All of it is guarded by device.lock, but for what an operation does
 * while it runs. */
#ifndef CUDA_EMULATION_DEVICE_STATE_H
#define CUDA_EMULATION_DEVICE_STATE_H

#include <chrono>
#include <condition_variable>
#include <deque>
#include <functional>
#include <list>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "api.h"
#include "hooks.h"

namespace cuda_emulation {

using clock = std::chrono::steady_clock;

/* What an event's record will have reached. */
struct mark {
    bool done = false;
    clock::time_point time;
    CUstream_st *home = nullptr; /* NULL once it is done */
};

/* The work of an operation; given a number that settles what CUDA leaves open (the order of blocks, of a graph's nodes). */
using work = std::function<void(uint64_t draw)>;

struct operation {
    uint64_t number; /* in order of queueing, over all streams */
    std::shared_ptr<work> run;
    std::shared_ptr<mark> waits, records;
    bool always; /* even after a fault: it gives memory back */
    bool urgent; /* a host function: somebody may wait for what it does */
};

/* A sequence of operations that is captured: nodes and what each comes after. */
struct node {
    std::shared_ptr<work> run;
    std::vector<size_t> after;
};
struct capture {
    CUstream_st *origin;
    cudaStreamCaptureMode mode;
    std::thread::id owner;
    std::vector<node> nodes;
    bool invalid = false, ended = false;
};

} // namespace cuda_emulation

struct CUstream_st {
    bool blocking = true; /* ordered against the legacy stream */
    int priority = 0;
    unsigned id = 0;
    std::deque<cuda_emulation::operation> queue; /* the first may be running */
    bool running = false, abandoned = false;
    uint64_t queued = 0, done = 0; /* numbers of the last operation queued, done */
    std::shared_ptr<cuda_emulation::capture> capturing;
    std::vector<size_t> tips; /* nodes of the capture that what comes next is after */
};

struct CUevent_st {
    unsigned flags = 0;
    std::shared_ptr<cuda_emulation::mark> last; /* NULL: never recorded */
    std::shared_ptr<cuda_emulation::capture> captured;
    std::vector<size_t> tips;
};

struct CUgraph_st {
    std::vector<cuda_emulation::node> nodes;
};
struct CUgraphExec_st {
    std::shared_ptr<std::vector<cuda_emulation::node>> nodes;
};

namespace cuda_emulation {

enum class place { device, pinned, registered };
struct block_of_memory {
    size_t bytes;
    place where;
};

/* In what order ready operations run, and when; drawn from the seed. */
enum class order { as_queued, any, newest, fixed };
struct policy {
    order by = order::as_queued;
    bool late = false;    /* nothing runs before somebody waits (or nothing has been queued for a while) */
    bool minimal = false; /* then only what the one who waits depends on */
};

struct waiter {
    CUstream_st *stream; /* NULL: the mark */
    uint64_t number;
    const mark *reached;
};

struct device {
    std::mutex lock;
    std::condition_variable changed, finished; /* for workers; for who waits */
    std::vector<std::thread> workers;
    bool stop = false;

    CUstream_st legacy;
    std::list<CUstream_st *> streams; /* legacy first */
    unsigned streams_made = 0;
    uint64_t numbers = 0, credits = 0;
    int64_t pending = 0, urgent = 0; /* operations not done; host functions among them */
    clock::time_point last_call;
    std::list<waiter> waiters;

    uint64_t seed = 0, draws = 0;
    policy how;
    std::string seed_text;
    bool check = false;

    cudaError_t sticky = cudaSuccess;
    std::string fault;

    std::list<std::weak_ptr<capture>> captures;
    std::map<const void *, int> shared_most; /* of kernels, by attribute */

    std::map<uintptr_t, block_of_memory> blocks; /* by first byte */
    size_t used = 0;
    int64_t limit = 0, fail = 0, ignore = 0;
    cuda_emulation_counts counts = {};
    int64_t live_streams = 0, live_events = 0, live_graphs = 0;

    device();
    ~device();
};
device &the_device();
using holding = std::unique_lock<std::mutex>;

/* ---- memory.cc */
cudaError_t memory_new(device &d, void **out, size_t bytes, place where);
cudaError_t memory_free(device &d, void *at, place where);
bool memory_find(device &d, const void *at, block_of_memory *found, uintptr_t *first); /* the block that holds this address */
bool memory_within(device &d, const void *at, size_t bytes, bool of_device);           /* all of it lies in one block */

/* ---- streams.cc */
uint64_t draw(device &d);
void seed_set(device &d, uint64_t seed);
void environment_read(device &d);
cudaError_t tell(device &d, cudaError_t error); /* keeps it for cudaGetLastError; returns it, or what ended all before */
CUstream_st *stream_of(device &d, cudaStream_t s);
/* Into the stream's queue, or into the capture that it is part of. */
cudaError_t queue(device &d, CUstream_st *s, work run, bool always = false, bool urgent = false);
void queue_mark(device &d, CUstream_st *s, std::shared_ptr<mark> waits, std::shared_ptr<mark> records);
void wait_stream(device &d, holding &hold, CUstream_st *s);
void wait_mark(device &d, holding &hold, const std::shared_ptr<mark> &m);
void wait_all(device &d, holding &hold);
void kernel_failed(device &d, const std::string &text);

/* ---- graph.cc */
cudaError_t capture_add(CUstream_st *s, std::shared_ptr<work> run);
void capture_end(device &d, const std::shared_ptr<capture> &c);
/* Calls that a capture does not bear make it invalid: this one, on stream s; any on the device; any that the capture's mode forbids. */
bool capture_breaks(CUstream_st *s);
bool capture_breaks_any(device &d);
bool capture_breaks_unsafe(device &d);
bool capture_breaks_legacy(device &d);
void nodes_run(const std::vector<node> &nodes, uint64_t draw);

/* ---- For cublas.cc: `run` as an operation of the stream. */
cudaError_t queue_call(cudaStream_t s, std::function<void()> run);

} // namespace cuda_emulation

#endif
