/* SPDX-License-Identifier: Apache-2.0 */
/* Capture: what is queued on a capturing stream becomes nodes of a graph, each after what its stream and the events it waited for had
 * reached. A graph's launch is one operation; its nodes run in any order that these edges allow, drawn from the seed. */
#include <algorithm>

#include "device_state.h"

namespace cuda_emulation {

static thread_local cudaStreamCaptureMode thread_mode = cudaStreamCaptureModeGlobal;

cudaError_t capture_add(CUstream_st *s, std::shared_ptr<work> run) {
    capture &c = *s->capturing;
    if (c.invalid) return cudaErrorStreamCaptureInvalidated;
    c.nodes.push_back({std::move(run), s->tips});
    s->tips.assign(1, c.nodes.size() - 1);
    return cudaSuccess;
}

void capture_end(device &d, const std::shared_ptr<capture> &c) {
    for (CUstream_st *s : d.streams)
        if (s->capturing == c) s->capturing = nullptr, s->tips.clear();
    c->ended = true;
    d.captures.remove_if([&c](const std::weak_ptr<capture> &w) { return w.expired() || w.lock() == c; });
}

bool capture_breaks(CUstream_st *s) {
    if (!s->capturing) return false;
    s->capturing->invalid = true;
    return true;
}

template <typename F> static bool breaks(device &d, F which) {
    bool broken = false;
    for (const std::weak_ptr<capture> &w : d.captures) {
        const std::shared_ptr<capture> c = w.lock();
        if (c && which(*c)) c->invalid = broken = true;
    }
    return broken;
}

bool capture_breaks_any(device &d) {
    return breaks(d, [](const capture &) { return true; });
}
bool capture_breaks_unsafe(device &d) {
    return breaks(d, [](const capture &c) {
        const bool own = c.owner == std::this_thread::get_id() && c.mode != cudaStreamCaptureModeRelaxed;
        return thread_mode != cudaStreamCaptureModeRelaxed &&
               (own || (thread_mode == cudaStreamCaptureModeGlobal && c.mode == cudaStreamCaptureModeGlobal));
    });
}
bool capture_breaks_legacy(device &d) {
    bool broken = false;
    for (CUstream_st *s : d.streams)
        if (s->blocking && s->capturing) s->capturing->invalid = broken = true;
    return broken;
}

void nodes_run(const std::vector<node> &nodes, uint64_t draw) {
    std::vector<size_t> missing(nodes.size()), ready;
    std::vector<std::vector<size_t>> next(nodes.size());
    for (size_t i = 0; i < nodes.size(); i++) {
        missing[i] = nodes[i].after.size();
        for (const size_t before : nodes[i].after) next[before].push_back(i);
        if (missing[i] == 0) ready.push_back(i);
    }
    uint64_t state = draw;
    while (!ready.empty()) {
        size_t at = 0;
        if (draw == 0) at = static_cast<size_t>(std::min_element(ready.begin(), ready.end()) - ready.begin());
        else state = state * 6364136223846793005u + 1442695040888963407u, at = (state >> 33) % ready.size();
        const size_t i = ready[at];
        ready.erase(ready.begin() + static_cast<std::ptrdiff_t>(at));
        (*nodes[i].run)(draw ? state | 1 : 0);
        for (const size_t n : next[i])
            if (--missing[n] == 0) ready.push_back(n);
    }
}

/* Does every node come before one of `tips`? */
static bool joined(const std::vector<node> &nodes, const std::vector<size_t> &tips) {
    std::vector<bool> reached(nodes.size());
    for (const size_t t : tips) reached[t] = true;
    for (size_t i = nodes.size(); i-- > 0;) /* a node's edges lead to older ones */
        if (reached[i])
            for (const size_t before : nodes[i].after) reached[before] = true;
    return std::find(reached.begin(), reached.end(), false) == reached.end();
}

} // namespace cuda_emulation

using namespace cuda_emulation;

extern "C" {

cudaError_t cudaThreadExchangeStreamCaptureMode(enum cudaStreamCaptureMode *mode) {
    std::swap(*mode, thread_mode);
    return cudaSuccess;
}

cudaError_t cudaStreamBeginCapture(cudaStream_t handle, enum cudaStreamCaptureMode mode) {
    device &d = the_device();
    const holding hold(d.lock);
    CUstream_st *s = stream_of(d, handle);
    if (s == &d.legacy) return tell(d, cudaErrorStreamCaptureUnsupported);
    if (s->capturing) return tell(d, cudaErrorIllegalState);
    const auto c = std::make_shared<capture>();
    c->origin = s, c->mode = mode, c->owner = std::this_thread::get_id();
    s->capturing = c, s->tips.clear();
    d.captures.push_back(c);
    return tell(d, cudaSuccess);
}

cudaError_t cudaStreamEndCapture(cudaStream_t handle, cudaGraph_t *graph) {
    device &d = the_device();
    const holding hold(d.lock);
    CUstream_st *s = stream_of(d, handle);
    *graph = nullptr;
    const std::shared_ptr<capture> c = s->capturing;
    if (!c) return tell(d, cudaErrorIllegalState);
    if (c->origin != s) {
        c->invalid = true;
        return tell(d, cudaErrorStreamCaptureUnmatched);
    }
    if (c->mode != cudaStreamCaptureModeRelaxed && c->owner != std::this_thread::get_id())
        return tell(d, cudaErrorStreamCaptureWrongThread);
    const bool whole = joined(c->nodes, s->tips);
    capture_end(d, c);
    if (c->invalid) return tell(d, cudaErrorStreamCaptureInvalidated);
    if (!whole) return tell(d, cudaErrorStreamCaptureUnjoined);
    *graph = new CUgraph_st;
    (*graph)->nodes = c->nodes;
    d.live_graphs++;
    return tell(d, cudaSuccess);
}

cudaError_t cudaStreamIsCapturing(cudaStream_t handle, enum cudaStreamCaptureStatus *status) {
    device &d = the_device();
    const holding hold(d.lock);
    const CUstream_st *s = stream_of(d, handle);
    *status = !s->capturing           ? cudaStreamCaptureStatusNone
              : s->capturing->invalid ? cudaStreamCaptureStatusInvalidated
                                      : cudaStreamCaptureStatusActive;
    return tell(d, cudaSuccess);
}

cudaError_t cudaGraphGetNodes(cudaGraph_t graph, cudaGraphNode_t *nodes, size_t *count) {
    for (size_t i = 0; nodes && i < *count && i < graph->nodes.size(); i++) nodes[i] = reinterpret_cast<cudaGraphNode_t>(&graph->nodes[i]);
    if (!nodes || *count > graph->nodes.size()) *count = graph->nodes.size();
    return cudaSuccess;
}

cudaError_t cudaGraphInstantiate(cudaGraphExec_t *out, cudaGraph_t graph, unsigned long long) {
    device &d = the_device();
    const holding hold(d.lock);
    *out = nullptr;
    if (!graph) return tell(d, cudaErrorInvalidValue);
    *out = new CUgraphExec_st;
    (*out)->nodes = std::make_shared<std::vector<node>>(graph->nodes);
    d.live_graphs++;
    return tell(d, cudaSuccess);
}

cudaError_t cudaGraphUpload(cudaGraphExec_t exec, cudaStream_t) {
    device &d = the_device();
    const holding hold(d.lock);
    return tell(d, exec ? cudaSuccess : cudaErrorInvalidValue);
}

cudaError_t cudaGraphLaunch(cudaGraphExec_t exec, cudaStream_t s) {
    device &d = the_device();
    const holding hold(d.lock);
    if (!exec) return tell(d, cudaErrorInvalidValue);
    d.counts.graph_launches++;
    const std::shared_ptr<std::vector<node>> nodes = exec->nodes;
    return tell(d, queue(d, stream_of(d, s), [nodes](uint64_t draw) { nodes_run(*nodes, draw); }));
}

cudaError_t cudaGraphExecDestroy(cudaGraphExec_t exec) {
    device &d = the_device();
    const holding hold(d.lock);
    d.live_graphs -= exec != nullptr;
    delete exec;
    return tell(d, cudaSuccess);
}
cudaError_t cudaGraphDestroy(cudaGraph_t graph) {
    device &d = the_device();
    const holding hold(d.lock);
    d.live_graphs -= graph != nullptr;
    delete graph;
    return tell(d, cudaSuccess);
}

} // extern "C"
