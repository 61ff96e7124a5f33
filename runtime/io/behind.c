/* SPDX-License-Identifier: Apache-2.0 */
#include "io/behind.h"
#include "base/trace.h"
#include "io/loop.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

struct behind {
    struct io_work work;
    struct io_loop *loop;
    const struct allocator *from;
    pthread_mutex_t lock;
    pthread_cond_t done;
    bool busy, cancelled;
    int code;
    struct report report; /* of the write: read when it is done */
    char path[4096], remove[4096];
    const struct tensor_write *tensors;
    size_t count;
    const char *const *metadata;
    const struct trace_label *label; /* NULL: no trace */
};

int behind_new(struct io_loop *loop, struct behind **out) {
    const struct allocator *from = io_loop_allocator(loop);
    *out = NULL;
    struct behind *behind = memory_new(from, sizeof *behind);
    if (!behind) return FLOW_ERROR_MEMORY;
    struct trace *trace = io_loop_trace(loop);
    behind->loop = loop, behind->from = from;
    if (trace) behind->label = trace_label(trace, &(struct trace_about){TRACE_SPAN, "write checkpoint", "output", NULL, NULL});
    report_init(&behind->report, from);
    bool locked = pthread_mutex_init(&behind->lock, NULL) == 0;
    if (!locked || pthread_cond_init(&behind->done, NULL) != 0) {
        if (locked) pthread_mutex_destroy(&behind->lock);
        memory_free(from, behind, sizeof *behind);
        return FLOW_ERROR_MEMORY;
    }
    *out = behind;
    return 0;
}

/* [a worker] */
static void write_file(struct io_work *work) {
    struct behind *behind = (struct behind *)(void *)work; /* the first member */
    struct tensor_write_options options = {.metadata = behind->metadata};
    struct trace_span span = {0};
    if (behind->label) span = trace_begin(io_loop_trace(behind->loop), behind->label);
    behind->code = tensor_file_write(behind->from, behind->path, behind->tensors, behind->count, &options, &behind->report);
    if (behind->code == 0 && behind->remove[0]) unlink(behind->remove);
    if (behind->label) trace_end(&span, 0);
}

/* [the loop's thread] */
static void finished(struct io_work *work, bool cancelled) {
    struct behind *behind = (struct behind *)(void *)work;
    pthread_mutex_lock(&behind->lock);
    behind->busy = false;
    if (cancelled) behind->code = FLOW_ERROR_CANCELLED;
    pthread_cond_broadcast(&behind->done);
    pthread_mutex_unlock(&behind->lock);
}

int behind_wait(struct behind *behind, struct report *report) {
    pthread_mutex_lock(&behind->lock);
    while (behind->busy) pthread_cond_wait(&behind->done, &behind->lock);
    pthread_mutex_unlock(&behind->lock);
    int code = behind->code;
    behind->code = 0;
    for (const struct report_message *m = behind->report.first; m && report; m = m->next) report_add(report, m->code, m->at, "%s", m->text);
    if (code < 0 && !behind->report.first && report) report_add(report, code, (struct position){0}, "'%s' was not written", behind->path);
    report_free(&behind->report);
    report_init(&behind->report, behind->from);
    return code;
}

bool behind_idle(struct behind *behind) {
    pthread_mutex_lock(&behind->lock);
    bool idle = !behind->busy;
    pthread_mutex_unlock(&behind->lock);
    return idle;
}

int behind_start(struct behind *behind, const char *path, const struct tensor_write *tensors, size_t count, const char *const *metadata,
                 const char *remove, struct report *report) {
    int code = behind_wait(behind, report);
    if (code < 0) return code;
    if (strlen(path) >= sizeof behind->path || (remove && strlen(remove) >= sizeof behind->remove))
        return report_add(report, FLOW_ERROR_IO, (struct position){0}, "'%.200s..': the path is too long", path);
    strcpy(behind->path, path);
    strcpy(behind->remove, remove ? remove : "");
    behind->tensors = tensors, behind->count = count, behind->metadata = metadata;
    behind->work = (struct io_work){.run = write_file, .done = finished};
    behind->busy = true;
    io_loop_work(behind->loop, &behind->work);
    return 0;
}

void behind_free(struct behind *behind) {
    if (!behind) return;
    (void)!behind_wait(behind, NULL);
    report_free(&behind->report);
    pthread_cond_destroy(&behind->done);
    pthread_mutex_destroy(&behind->lock);
    memory_free(behind->from, behind, sizeof *behind);
}
