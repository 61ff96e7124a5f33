/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One thread runs the libuv loop of a runtime. Nothing computes on it: it moves bytes from descriptors into rings, and stops reading where
 * a ring is full. A stream reads from io_stream_open on until its end, and is let go of when io_stream_close wishes it, or when the loop
 * ends: whatever it still waits for then (a silent pipe, a read) is ended first. Files are read by workers of the loop's own: libuv's
 * thread pool ends the program where it gets no threads.
 */
#include "io/loop.h"

#include "base/plain.h"
#include "base/trace.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { WORKERS = 4 };

struct io_loop {
    const struct allocator *from;
    uv_loop_t uv;
    uv_async_t wake;
    pthread_t thread;
    pthread_t workers[WORKERS];
    int worker_count;
    pthread_mutex_t lock;  /* of what follows */
    pthread_cond_t wanted; /* something is queued, or it is over */
    struct stream *streams;
    struct io_work *queue, **queue_end;       /* for the workers, in order */
    struct io_work *finished, **finished_end; /* for the loop thread */
    int running;
    bool stop, over;
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

static struct stream *stream_of(struct io_work *work) { return (struct stream *)((char *)work - offsetof(struct stream, work)); }

/* On a worker. */
static void file_run(struct io_work *work) {
    struct stream *stream = stream_of(work);
    do stream->result = read(stream->file, stream->into, stream->wanted);
    while (stream->result < 0 && errno == EINTR);
    if (stream->result < 0) stream->result = -errno;
}

static void file_done(struct io_work *work, bool cancelled) {
    struct stream *stream = stream_of(work);
    stream->reading = false;
    if (stream->closing || cancelled) {
        detach(stream);
        return;
    }
    if (stream->result > 0) arrived(stream, (size_t)stream->result);
    if (stream->result > 0) file_read(stream);
    else ended(stream, (int)stream->result);
}

static void file_read(struct stream *stream) {
    stream->wanted = room(stream, &stream->into);
    if (stream->wanted == 0) return;
    if (stream->loop->trace) stream->asked = trace_now();
    stream->work = (struct io_work){.run = file_run, .done = file_done};
    stream->reading = true;
    io_loop_work(stream->loop, &stream->work);
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

/* Takes work back that no worker has begun. */
static bool unqueue(struct io_loop *loop, struct io_work *work) {
    pthread_mutex_lock(&loop->lock);
    struct io_work **at = &loop->queue;
    while (*at && *at != work) at = &(*at)->next;
    const bool found = *at != NULL;
    if (found && !(*at = work->next)) loop->queue_end = at;
    pthread_mutex_unlock(&loop->lock);
    return found;
}

static void stream_stop(struct stream *stream) {
    if (stream->closing) return;
    stream->closing = true;
    if (stream->has_handle) {
        if (stream->restore >= 0) fcntl(stream->file, F_SETFL, stream->restore);
        uv_close(&stream->uv.handle, handle_closed);
    } else if (!stream->reading || unqueue(stream->loop, &stream->work))
        detach(stream); /* else a read is running, and comes back by itself */
}

/* Under the stream's lock. */
static void cancel(struct stream *stream) {
    if (!stream->ended) stream->error = UV_ECANCELED;
    stream->ended = true;
    pthread_cond_broadcast(&stream->changed);
}

/* Takes one wish of one stream; false when there are none left. */
static bool serve(struct io_loop *loop) {
    struct stream *stream;
    bool stop = false, resume = false;
    pthread_mutex_lock(&loop->lock);
    for (stream = loop->streams; stream; stream = stream->next) {
        if (stream->closing) continue;
        pthread_mutex_lock(&stream->lock);
        if (atomic_exchange(&stream->interrupted, false)) cancel(stream);
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

static void put(struct io_work ***end, struct io_work *work) {
    work->next = NULL;
    **end = work;
    *end = &work->next;
}

static struct io_work *take_all(struct io_work **list, struct io_work ***end) {
    struct io_work *first = *list;
    *list = NULL, *end = list;
    return first;
}

static void done(struct io_work *work, bool cancelled) {
    while (work) {
        struct io_work *next = work->next; /* `done` may free it */
        work->done(work, cancelled);
        work = next;
    }
}

/* Tells the ends of works; once the loop is to stop, also of those that nobody has begun. */
static void deliver(struct io_loop *loop) {
    struct io_work *finished, *cancelled;
    do {
        pthread_mutex_lock(&loop->lock);
        finished = take_all(&loop->finished, &loop->finished_end);
        cancelled = loop->stop ? take_all(&loop->queue, &loop->queue_end) : NULL;
        pthread_mutex_unlock(&loop->lock);
        done(finished, false);
        done(cancelled, true);
    } while (finished || cancelled);
}

void io_loop_work(struct io_loop *loop, struct io_work *work) {
    pthread_mutex_lock(&loop->lock);
    put(&loop->queue_end, work);
    pthread_cond_signal(&loop->wanted);
    if (loop->stop && !loop->over) uv_async_send(&loop->wake);
    pthread_mutex_unlock(&loop->lock);
}

static void *worker(void *context) {
    struct io_loop *loop = context;
    (void)plain_begin();
    trace_thread(loop->trace, "files");
    pthread_mutex_lock(&loop->lock);
    for (;;) {
        while (!loop->queue && !loop->over) pthread_cond_wait(&loop->wanted, &loop->lock);
        struct io_work *work = loop->queue;
        if (loop->over) break;
        if (!(loop->queue = work->next)) loop->queue_end = &loop->queue;
        loop->running++;
        pthread_mutex_unlock(&loop->lock);
        work->run(work);
        pthread_mutex_lock(&loop->lock);
        loop->running--;
        put(&loop->finished_end, work);
        uv_async_send(&loop->wake); /* under the lock: the loop closes it only when nothing is left */
    }
    pthread_mutex_unlock(&loop->lock);
    return NULL;
}

static void woken(uv_async_t *wake) {
    struct io_loop *loop = wake->data;
    pthread_mutex_lock(&loop->lock);
    const bool stop = loop->stop; /* before it serves: only then have all streams been ended */
    pthread_mutex_unlock(&loop->lock);
    while (serve(loop)) {}
    deliver(loop);
    pthread_mutex_lock(&loop->lock);
    const bool close = stop && !loop->over && !loop->queue && !loop->running && !loop->finished;
    if (close) loop->over = true; /* what is wished for from now on is cancelled by io_loop_free */
    pthread_mutex_unlock(&loop->lock);
    if (close) uv_close((uv_handle_t *)wake, NULL);
}

static void *run(void *context) {
    struct io_loop *loop = context;
    (void)plain_begin();
    trace_thread(loop->trace, "input loop");
    uv_run(&loop->uv, UV_RUN_DEFAULT);
    return NULL;
}

/* ---- The loop, from other threads ------------------------------------------------------------------------------ */

static void workers_end(struct io_loop *loop) {
    pthread_mutex_lock(&loop->lock);
    loop->over = true;
    pthread_cond_broadcast(&loop->wanted);
    pthread_mutex_unlock(&loop->lock);
    for (int i = 0; i < loop->worker_count; i++) pthread_join(loop->workers[i], NULL);
}

/* The loop's thread, and at least one worker. Signals go to the threads of the program. */
static bool threads_start(struct io_loop *loop) {
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    while (loop->worker_count < WORKERS && pthread_create(&loop->workers[loop->worker_count], NULL, worker, loop) == 0)
        loop->worker_count++;
    const bool good = loop->worker_count && pthread_create(&loop->thread, NULL, run, loop) == 0;
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (!good) workers_end(loop);
    return good;
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
    loop->queue_end = &loop->queue, loop->finished_end = &loop->finished;
    if (has_wake && pthread_mutex_init(&loop->lock, NULL) == 0) has_lock = true;
    if (has_lock) pthread_cond_init(&loop->wanted, NULL); /* cannot fail on Linux */
    if (has_lock && threads_start(loop)) good = true;
    if (good) {
        *out = loop;
        return FLOW_OK;
    }
    if (has_lock) pthread_cond_destroy(&loop->wanted), pthread_mutex_destroy(&loop->lock);
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
    uv_async_send(&loop->wake);
    pthread_mutex_unlock(&loop->lock);
    pthread_join(loop->thread, NULL);
    workers_end(loop);
    deliver(loop);
    uv_loop_close(&loop->uv);
    pthread_cond_destroy(&loop->wanted);
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
    cancel(stream);
    pthread_mutex_unlock(&stream->lock);
}

/* uv_async_send is made for signal handlers. A stream that is not closed keeps the loop's handle alive. */
void io_stream_interrupt(struct stream *stream) {
    atomic_store(&stream->interrupted, true);
    uv_async_send(&stream->loop->wake);
}
