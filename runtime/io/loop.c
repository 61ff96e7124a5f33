/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One thread runs the libuv loop of a runtime. Nothing computes on it: it moves bytes from descriptors into rings, and stops reading where
 * a ring is full. A stream reads from io_stream_open on until its end, and is let go of when io_stream_close wishes it, or when the loop
 * ends: whatever it still waits for then (a silent pipe, a request in the thread pool) is ended first.
 */
#include "io/loop.h"

#include "base/plain.h"
#include "base/trace.h"

#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

struct io_loop {
    const struct allocator *from;
    uv_loop_t uv;
    uv_async_t wake;
    pthread_t thread;
    pthread_mutex_t lock; /* of the lists and `stop` */
    struct stream *streams;
    struct io_work *works, **works_end; /* wished for, in order */
    bool stop;
    struct trace *trace; /* NULL */
    const struct trace_label *read_label, *ring_label;
};

const struct allocator *io_loop_allocator(const struct io_loop *loop) { return loop->from; }

struct trace *io_loop_trace(const struct io_loop *loop) {
    return loop->trace;
}

/* ---- On the loop thread --------------------------------------------------------------------------------------- */

/* Room for the next bytes, contiguous; 0: the ring is full. */
static size_t room(struct stream *stream, uint8_t **at) {
    pthread_mutex_lock(&stream->lock);
    const size_t place = (size_t)(stream->tail % RING_BYTES), unused = RING_BYTES - (size_t)(stream->tail - stream->head);
    const size_t size = RING_BYTES - place < unused ? RING_BYTES - place : unused;
    if (size == 0) stream->stopped = true;
    pthread_mutex_unlock(&stream->lock);
    *at = stream->ring + place;
    return size < READ_BYTES ? size : READ_BYTES;
}

static void arrived(struct stream *stream, size_t size) {
    const struct io_loop *loop = stream->loop;
    pthread_mutex_lock(&stream->lock);
    stream->tail += size;
    const uint64_t ahead = stream->tail - stream->head;
    pthread_cond_broadcast(&stream->changed);
    pthread_mutex_unlock(&stream->lock);
    if (!loop->trace) return;
    trace_record(loop->trace, loop->read_label, stream->asked, (int64_t)size);
    trace_record(loop->trace, loop->ring_label, 0, (int64_t)ahead);
}

static void ended(struct stream *stream, int error) {
    pthread_mutex_lock(&stream->lock);
    if (!stream->ended) stream->error = error;
    stream->ended = true;
    pthread_cond_broadcast(&stream->changed);
    pthread_mutex_unlock(&stream->lock);
}

/* The last thing the loop thread does with a stream. */
static void detach(struct stream *stream) {
    struct io_loop *loop = stream->loop;
    if (stream->owns_file) close(stream->file);
    pthread_mutex_lock(&loop->lock);
    struct stream **at = &loop->streams;
    while (*at != stream) at = &(*at)->next;
    *at = stream->next;
    pthread_mutex_unlock(&loop->lock);
    pthread_mutex_lock(&stream->lock);
    if (!stream->ended) stream->error = UV_ECANCELED;
    stream->ended = stream->detached = true;
    pthread_cond_broadcast(&stream->changed);
    pthread_mutex_unlock(&stream->lock);
}

static void file_read(struct stream *stream);

static void file_done(uv_fs_t *request) {
    struct stream *stream = request->data;
    const ssize_t result = request->result;
    uv_fs_req_cleanup(request);
    stream->reading = false;
    if (stream->closing) {
        detach(stream);
        return;
    }
    if (result > 0) arrived(stream, (size_t)result);
    if (result > 0) file_read(stream);
    else ended(stream, (int)result);
}

static void file_read(struct stream *stream) {
    uint8_t *at;
    const size_t size = room(stream, &at);
    if (size == 0) return;
    const uv_buf_t buffer = uv_buf_init((char *)at, (unsigned)size);
    stream->request.data = stream;
    if (stream->loop->trace) stream->asked = trace_now();
    const int error = uv_fs_read(&stream->loop->uv, &stream->request, stream->file, &buffer, 1, -1, file_done);
    stream->reading = error == 0;
    if (error) ended(stream, error);
}

static void pipe_room(uv_handle_t *handle, size_t suggested, uv_buf_t *buffer) {
    uint8_t *at;
    (void)suggested;
    const size_t size = room(handle->data, &at);
    *buffer = uv_buf_init(size ? (char *)at : NULL, (unsigned)size);
}

static void pipe_done(uv_stream_t *handle, ssize_t result, const uv_buf_t *buffer) {
    struct stream *stream = handle->data;
    (void)buffer;
    if (result > 0 && stream->loop->trace) stream->asked = trace_now(); /* libuv has read it just now */
    if (result > 0) arrived(stream, (size_t)result);
    if (result >= 0) return; /* 0: nothing to read just now */
    uv_read_stop(handle);
    stream->reading = false;
    if (result != UV_ENOBUFS) ended(stream, result == UV_EOF ? 0 : (int)result); /* ENOBUFS: full, as room() noted */
}

static void pipe_read(struct stream *stream) {
    const int error = uv_read_start(&stream->uv.stream, pipe_room, pipe_done);
    stream->reading = error == 0;
    if (error) ended(stream, error);
}

/* First call: what is polled gets its handle, which then owns the descriptor. */
static void stream_read(struct stream *stream) {
    if (!stream->started && !stream->is_file) {
        int error = uv_pipe_init(&stream->loop->uv, &stream->uv.pipe, 0);
        stream->has_handle = error == 0;
        if (stream->has_handle) error = uv_pipe_open(&stream->uv.pipe, stream->file);
        if (stream->has_handle) stream->uv.handle.data = stream;
        if (error) ended(stream, error);
        else stream->owns_file = false;
    }
    stream->started = true;
    pthread_mutex_lock(&stream->lock);
    const bool over = stream->ended;
    pthread_mutex_unlock(&stream->lock);
    if (over || stream->reading) return;
    if (stream->is_file) file_read(stream);
    else pipe_read(stream);
}

static void handle_closed(uv_handle_t *handle) { detach(handle->data); }

static void stream_stop(struct stream *stream) {
    if (stream->closing) return;
    stream->closing = true;
    if (stream->has_handle) {
        if (stream->restore >= 0) fcntl(stream->file, F_SETFL, stream->restore);
        uv_close(&stream->uv.handle, handle_closed);
    } else if (stream->reading) uv_cancel((uv_req_t *)&stream->request); /* where that fails it is running, and comes back by itself */
    else detach(stream);
}

/* Takes one wish of one stream; false when there are none left. */
static bool serve(struct io_loop *loop) {
    struct stream *stream;
    bool stop = false, resume = false;
    pthread_mutex_lock(&loop->lock);
    for (stream = loop->streams; stream; stream = stream->next) {
        if (stream->closing) continue;
        pthread_mutex_lock(&stream->lock);
        stop = stream->close || loop->stop, resume = stream->resume;
        stream->resume = false;
        pthread_mutex_unlock(&stream->lock);
        if (stop || resume) break;
    }
    pthread_mutex_unlock(&loop->lock);
    if (!stream) return false;
    if (stop) stream_stop(stream);
    else stream_read(stream);
    return true;
}

static void work_run(uv_work_t *request) {
    struct io_work *work = request->data;
    const struct io_loop *loop = request->loop->data;
    trace_thread(loop->trace, "files");
    void *before = plain_begin(); /* the thread is libuv's, and the application may use it, too */
    work->run(work);
    plain_end(before);
}

static void work_done(uv_work_t *request, int status) {
    struct io_work *work = request->data;
    work->done(work, status == UV_ECANCELED);
}

/* Hands all work wished for to the thread pool. */
static void start_works(struct io_loop *loop) {
    pthread_mutex_lock(&loop->lock);
    struct io_work *work = loop->works;
    const bool stop = loop->stop;
    loop->works = NULL, loop->works_end = &loop->works;
    pthread_mutex_unlock(&loop->lock);
    while (work) {
        struct io_work *next = work->next; /* `done` may free it */
        work->request.data = work;
        if (stop || uv_queue_work(&loop->uv, &work->request, work_run, work_done) != 0) work->done(work, true);
        work = next;
    }
}

void io_loop_work(struct io_loop *loop, struct io_work *work) {
    work->next = NULL;
    pthread_mutex_lock(&loop->lock);
    const bool first = !loop->works; /* else the loop has been woken, and has not looked yet */
    *loop->works_end = work, loop->works_end = &work->next;
    pthread_mutex_unlock(&loop->lock);
    if (first) uv_async_send(&loop->wake);
}

static void woken(uv_async_t *wake) {
    struct io_loop *loop = wake->data;
    while (serve(loop)) {}
    start_works(loop);
    pthread_mutex_lock(&loop->lock);
    const bool stop = loop->stop;
    pthread_mutex_unlock(&loop->lock);
    if (stop && !uv_is_closing((uv_handle_t *)wake)) uv_close((uv_handle_t *)wake, NULL);
}

static void *run(void *context) {
    struct io_loop *loop = context;
    (void)plain_begin();
    trace_thread(loop->trace, "input loop");
    uv_run(&loop->uv, UV_RUN_DEFAULT);
    start_works(loop); /* what was wished for while the last work ended: cancelled */
    return NULL;
}

/* ---- The loop, from other threads ------------------------------------------------------------------------------ */

/* Signals go to the threads of the program. */
static int thread_start(struct io_loop *loop) {
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    const int error = pthread_create(&loop->thread, NULL, run, loop);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return error;
}

int io_loop_new(const struct allocator *from, struct io_loop **out) { return io_loop_traced(from, NULL, out); }

int io_loop_traced(const struct allocator *from, struct trace *trace, struct io_loop **out) {
    *out = NULL;
    struct io_loop *loop = memory_new(from, sizeof *loop);
    if (!loop) return FLOW_ERROR_MEMORY;
    loop->from = from, loop->trace = trace;
    if (trace) {
        loop->read_label = trace_label(trace, &(struct trace_about){TRACE_APART, "read", "input", NULL, "bytes"});
        loop->ring_label = trace_label(trace, &(struct trace_about){TRACE_COUNTER, "bytes read ahead", "input", NULL, "bytes"});
    }
    bool has_uv = false, has_wake = false, has_lock = false, good = false;
    if (uv_loop_init(&loop->uv) == 0) has_uv = true;
    if (has_uv && uv_async_init(&loop->uv, &loop->wake, woken) == 0) has_wake = true;
    loop->wake.data = loop, loop->uv.data = loop;
    loop->works_end = &loop->works;
    if (has_wake && pthread_mutex_init(&loop->lock, NULL) == 0) has_lock = true;
    if (has_lock && thread_start(loop) == 0) good = true;
    if (good) {
        *out = loop;
        return FLOW_OK;
    }
    if (has_lock) pthread_mutex_destroy(&loop->lock);
    if (has_wake) uv_close((uv_handle_t *)&loop->wake, NULL);
    if (has_uv) {
        uv_run(&loop->uv, UV_RUN_DEFAULT);
        uv_loop_close(&loop->uv);
    }
    memory_free(from, loop, sizeof *loop);
    return FLOW_ERROR_MEMORY;
}

void io_loop_free(struct io_loop *loop) {
    if (!loop) return;
    pthread_mutex_lock(&loop->lock);
    loop->stop = true;
    pthread_mutex_unlock(&loop->lock);
    uv_async_send(&loop->wake);
    pthread_join(loop->thread, NULL);
    uv_loop_close(&loop->uv);
    pthread_mutex_destroy(&loop->lock);
    memory_free(loop->from, loop, sizeof *loop);
}

/* ---- A stream, from its consumer -------------------------------------------------------------------------------- */

int io_stream_open(struct io_loop *loop, int file, int restore, struct stream **out) {
    struct stat about;
    struct stream *stream = memory_new(loop->from, sizeof *stream);
    *out = NULL;
    if (stream) stream->ring = memory_new(loop->from, RING_BYTES);
    if (!stream || !stream->ring || fstat(file, &about) < 0) {
        if (stream) memory_free(loop->from, stream->ring, RING_BYTES);
        memory_free(loop->from, stream, sizeof *stream);
        close(file);
        return FLOW_ERROR_MEMORY;
    }
    pthread_mutex_init(&stream->lock, NULL); /* neither fails on Linux */
    pthread_cond_init(&stream->changed, NULL);
    stream->loop = loop, stream->from = loop->from, stream->file = file, stream->restore = restore;
    stream->owns_file = true;
    stream->is_file = S_ISREG(about.st_mode) || S_ISBLK(about.st_mode) || (S_ISCHR(about.st_mode) && !isatty(file));
    stream->resume = true;
    pthread_mutex_lock(&loop->lock);
    stream->next = loop->streams;
    loop->streams = stream;
    pthread_mutex_unlock(&loop->lock);
    uv_async_send(&loop->wake);
    *out = stream;
    return FLOW_OK;
}

/* Under the stream's lock: while it is not detached the loop cannot be gone. */
static void wake(struct stream *stream) {
    if (!stream->detached) uv_async_send(&stream->loop->wake);
}

static void resume(struct stream *stream) {
    stream->stopped = false, stream->resume = true;
    wake(stream);
}

void io_stream_close(struct stream *stream) {
    if (!stream) return;
    pthread_mutex_lock(&stream->lock);
    stream->close = true;
    wake(stream);
    while (!stream->detached) pthread_cond_wait(&stream->changed, &stream->lock);
    pthread_mutex_unlock(&stream->lock);
    pthread_cond_destroy(&stream->changed);
    pthread_mutex_destroy(&stream->lock);
    memory_free(stream->from, stream->ring, RING_BYTES);
    memory_free(stream->from, stream, sizeof *stream);
}

size_t io_stream_wait(struct stream *stream, size_t least) {
    pthread_mutex_lock(&stream->lock);
    while (stream->tail - stream->head < least && !stream->ended) {
        if (stream->stopped) resume(stream);
        pthread_cond_wait(&stream->changed, &stream->lock);
    }
    const size_t there = (size_t)(stream->tail - stream->head);
    pthread_mutex_unlock(&stream->lock);
    return there;
}

int io_stream_error(struct stream *stream) {
    pthread_mutex_lock(&stream->lock);
    const int error = stream->ended ? stream->error : 0;
    pthread_mutex_unlock(&stream->lock);
    return error;
}

/* `head` is the consumer's own to change. */
void io_stream_peek(const struct stream *stream, uint8_t *to, size_t size) {
    const size_t place = (size_t)(stream->head % RING_BYTES), first = RING_BYTES - place < size ? RING_BYTES - place : size;
    memcpy(to, stream->ring + place, first);
    memcpy(to + first, stream->ring, size - first);
}

void io_stream_take(struct stream *stream, size_t size) {
    pthread_mutex_lock(&stream->lock);
    stream->head += size;
    if (stream->stopped && RING_BYTES - (stream->tail - stream->head) >= READ_BYTES) resume(stream);
    pthread_mutex_unlock(&stream->lock);
}

void io_stream_cancel(struct stream *stream) {
    pthread_mutex_lock(&stream->lock);
    if (!stream->ended) stream->error = UV_ECANCELED;
    stream->ended = true;
    pthread_cond_broadcast(&stream->changed);
    pthread_mutex_unlock(&stream->lock);
}
