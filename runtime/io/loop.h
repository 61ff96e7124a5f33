/* SPDX-License-Identifier: Apache-2.0 */
/* The loop thread and what runs on it. All libuv calls happen on that thread; other threads leave a wish under a lock and wake it. */
#ifndef FLOW_IO_LOOP_H
#define FLOW_IO_LOOP_H

#include "io/io.h"

#include <pthread.h>
#include <stdatomic.h>
#include <uv.h>

enum { RING_BYTES = 1 << 18, READ_BYTES = 1 << 16 };

/* Work on one of the loop's workers, where it may wait for files. The struct is the caller's; it is the loop's from io_loop_work until
 * `done` begins, which the loop thread calls last of all: `cancelled` where the loop ends before `run` was called. */
struct io_work {
    struct io_work *next;
    void (*run)(struct io_work *work);
    void (*done)(struct io_work *work, bool cancelled);
};

/* Bytes of one descriptor, read ahead into a ring. The loop thread writes at `tail`, the consumer reads at `head`; both count bytes
 * since the beginning and are guarded by the lock. The bytes between them belong to the consumer, the rest to the loop thread. */
struct stream {
    struct io_loop *loop;
    const struct allocator *from;
    struct stream *next; /* of the loop's list */
    pthread_mutex_t lock;
    pthread_cond_t changed;
    uint8_t *ring;
    uint64_t head, tail;
    int error;               /* libuv's, negative: why it ended; 0: the end of the file */
    bool ended;              /* nothing more will come: end, error, or the loop is gone */
    bool stopped;            /* the ring is full: whoever makes room wishes `resume` */
    bool resume, close;      /* wishes */
    bool detached;           /* the loop thread will not touch this again */
    atomic_bool interrupted; /* a wish of a signal handler, which may not take the lock */
    /* the loop thread's own */
    int file, restore; /* flags to leave the descriptor with, -1: it is ours alone */
    bool is_file;      /* read by a worker; else polled */
    bool started, has_handle, owns_file, reading, closing;
    union {
        uv_handle_t handle;
        uv_stream_t stream;
        uv_pipe_t pipe;
    } uv;
    struct io_work work; /* reads `wanted` bytes to `into`; `result`: their number, or -errno */
    uint8_t *into;
    size_t wanted;
    ssize_t result;
    int64_t asked; /* when, for the trace */
};

void io_loop_work(struct io_loop *loop, struct io_work *work); /* [any thread] */

/* `file` is owned from here on, also on failure; `restore` is -1, or the flags with which to leave it. */
int must_use io_stream_open(struct io_loop *loop, int file, int restore, struct stream **out);
void io_stream_close(struct stream *stream);
/* Waits until `least` bytes (at most RING_BYTES) are there, or the end; their number. */
size_t io_stream_wait(struct stream *stream, size_t least);
/* Why it ended: 0 the end of the file, else negative, libuv's. */
int io_stream_error(struct stream *stream);
/* Bytes that are there: copies them without taking them, takes them. */
void io_stream_peek(const struct stream *stream, uint8_t *to, size_t size);
void io_stream_take(struct stream *stream, size_t size);
/* Ends all waiting, now and later. */
void io_stream_cancel(struct stream *stream);
void io_stream_interrupt(struct stream *stream); /* [any thread, signal handlers] the same, soon */
const struct allocator *io_loop_allocator(const struct io_loop *loop);
struct trace *io_loop_trace(const struct io_loop *loop); /* NULL */

#endif
