/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The ring of batches. Batch n lies in slot n % slot_count. Workers take the next number whose slot is free, fill it, and go on until there
 * is none, giving their thread back now and then; the caller takes the batches in order of number, and each batch it lets go of frees a
 * slot. A batch that cannot be read keeps its error until the caller comes to it; no number after it is begun.
 */
#include "io/batches_private.h"

#include <flow/random.h>

#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

enum { AHEAD_DEFAULT = 4, AHEAD_MOST = 1024, WORKERS_DEFAULT = 2, WORKERS_MOST = 64, ALIGNMENT = 64 };

/* How long a worker keeps its thread, in seconds: other files are read on the same threads. */
static const double slice = 0.005;

/* How long a caller looks whether its batch has come before it sleeps, in seconds: about what sleeping and waking cost. */
static const double look = 30e-6;

/* ---- On the workers -------------------------------------------------------------------------------------------- */

/* The key of an epoch, one for each purpose. */
static uint64_t epoch_key(uint64_t seed, int64_t epoch, uint64_t purpose) {
    uint32_t words[4];
    flow_philox(seed, (uint64_t)epoch, purpose, words);
    return (uint64_t)words[1] << 32 | words[0];
}

/* Which rows make batch `number`; their count, and its epoch. */
static int64_t choose_rows(const struct batches *batches, int64_t number, int64_t *rows, int64_t *epoch) {
    const int64_t all = batches->row_end - batches->row_first;
    *epoch = batches->in_epoch == INT64_MAX ? 0 : number / batches->in_epoch;
    const int64_t first = (number - (*epoch ? *epoch * batches->in_epoch : 0)) * batches->batch;
    const int64_t count = all - first < batches->batch ? all - first : batches->batch;
    const bool shuffle = batches->options.shuffle && batches->in_epoch != INT64_MAX;
    const uint64_t key = shuffle ? epoch_key(batches->options.seed, *epoch, 1) : 0;
    for (int64_t i = 0; i < count; i++)
        rows[i] = batches->row_first + (shuffle ? (int64_t)flow_permute(key, (uint64_t)(first + i), (uint64_t)all) : first + i);
    return count;
}

/* Outputs of a batch that does not stack rows may have become smaller, never larger. */
static int check_whole(struct batches *batches, struct slot *slot) {
    for (uint32_t i = 0; i < batches->output_count; i++) {
        const struct output *output = &batches->outputs[i];
        struct flow_tensor *tensor = &slot->tensors[i];
        bool good = tensor->rank == output->type.rank;
        for (int32_t axis = 0; good && output->whole && axis < tensor->rank; axis++)
            good = tensor->shape[axis] >= 0 && tensor->shape[axis] <= output->type.shape[axis];
        if (!good)
            return batches_host.fail(&slot->call, FLOW_ERROR_PLUGIN, "output '%s' has become larger than it was declared", output->name);
        if (output->whole) io_strides(tensor);
    }
    return FLOW_OK;
}

/* The allocator's blocks are aligned for scalars alone. */
static char *aligned(char *block) { return block + (ALIGNMENT - (uintptr_t)block % ALIGNMENT) % ALIGNMENT; }

static void fill(struct batches *batches, struct slot *slot) {
    const struct flow_source *source = batches->options.source;
    int64_t epoch;
    const int64_t count = choose_rows(batches, slot->number, slot->rows, &epoch);
    for (uint32_t i = 0; i < batches->output_count; i++) {
        const struct output *output = &batches->outputs[i];
        slot->tensors[i] = output->type;
        slot->tensors[i].data = aligned((char *)slot->block) + output->offset;
        if (!output->whole) slot->tensors[i].shape[0] = count;
        io_strides(&slot->tensors[i]);
    }
    const struct flow_source_fill call = {.size = sizeof call,
                                          .out_count = batches->output_count,
                                          .host = &batches_host,
                                          .owner = &slot->call,
                                          .state = batches->state,
                                          .attrs = batches->options.attrs,
                                          .rows = slot->rows,
                                          .count = count,
                                          .epoch = epoch,
                                          .seed = epoch_key(batches->options.seed, epoch, 2),
                                          .out = slot->tensors};
    int status = source->fill(&call);
    if (status == FLOW_OK && slot->call.code < 0) status = slot->call.code;
    if (status == FLOW_OK) status = check_whole(batches, slot);
    if (status < 0) batches_host.fail(&slot->call, status, "%s", status_text(status));
}

/* A slot for the next number, or NULL: the ring is full, or nothing more is to be read. */
static struct slot *take_slot(struct batches *batches) {
    struct slot *slot = NULL;
    pthread_mutex_lock(&batches->lock);
    if (!batches->failed && !atomic_load(&batches->closing) && !atomic_load(&batches->cancelled)) {
        slot = &batches->slots[batches->fill_next % batches->slot_count];
        if (slot->state == SLOT_FREE && batches->fill_next < INT64_MAX) {
            slot->state = SLOT_FILLING;
            slot->number = batches->fill_next++;
        } else slot = NULL;
    }
    pthread_mutex_unlock(&batches->lock);
    return slot;
}

/* Under the lock: how many batches are ready, for the trace. */
static void record_ready(const struct batches *batches) {
    int64_t ready = 0;
    if (!batches->ready_label) return;
    for (int32_t i = 0; i < batches->slot_count; i++) ready += batches->slots[i].state == SLOT_READY;
    trace_record(io_loop_trace(batches->loop), batches->ready_label, 0, ready);
}

static void fill_slots(struct io_work *work) {
    struct batches *batches = ((struct worker *)(void *)work)->batches;
    const double until = batches_now() + slice;
    for (struct slot *slot; (slot = take_slot(batches));) {
        struct trace_span span = {0};
        if (batches->fill_label) span = trace_begin(io_loop_trace(batches->loop), batches->fill_label);
        fill(batches, slot);
        if (batches->fill_label) trace_end(&span, slot->number);
        pthread_mutex_lock(&batches->lock);
        slot->state = SLOT_READY;
        record_ready(batches);
        if (slot->call.code < 0) batches->failed = true;
        if (batches->waiting && slot->number == batches->take_next) pthread_cond_broadcast(&batches->changed);
        pthread_mutex_unlock(&batches->lock);
        if (batches_now() > until) break;
    }
}

/* Under the lock: as many workers as there are slots to fill. */
static void start_workers(struct batches *batches) {
    const int64_t held = batches->take_next - (batches->holding ? 1 : 0);
    int64_t todo = held + batches->slot_count - batches->fill_next;
    if (batches->failed || batches->ended || atomic_load(&batches->closing) || atomic_load(&batches->cancelled)) return;
    if (batches->once && batches->fill_next > batches->options.first) return;
    for (int32_t i = 0; i < batches->worker_count && i < todo; i++) {
        if (batches->workers[i].busy) continue;
        batches->workers[i].busy = true;
        io_loop_work(batches->loop, &batches->workers[i].work);
    }
}

static void worker_done(struct io_work *work, bool cancelled) {
    struct worker *worker = (struct worker *)(void *)work;
    struct batches *batches = worker->batches;
    pthread_mutex_lock(&batches->lock);
    worker->busy = false;
    if (cancelled) batches->ended = true;
    else start_workers(batches);
    pthread_cond_broadcast(&batches->changed);
    pthread_mutex_unlock(&batches->lock);
}

static void make_labels(struct batches *batches) {
    struct trace *trace = io_loop_trace(batches->loop);
    char name[128];
    if (!trace) return;
    snprintf(name, sizeof name, "fill %s", batches->options.source->name);
    batches->fill_label = trace_label(trace, &(struct trace_about){TRACE_SPAN, name, "input", NULL, "batch"});
    snprintf(name, sizeof name, "wait for %s", batches->options.source->name);
    batches->wait_label = trace_label(trace, &(struct trace_about){TRACE_SPAN, name, "input", NULL, "batch"});
    snprintf(name, sizeof name, "ready batches of %s", batches->options.source->name);
    batches->ready_label = trace_label(trace, &(struct trace_about){TRACE_COUNTER, name, "input", NULL, "batches"});
}

/* ---- Opening --------------------------------------------------------------------------------------------------- */

struct opening {
    struct io_work work;
    struct source_call call;
    struct flow_source_open open;
    bool done, cancelled;
};

static void open_run(struct io_work *work) {
    struct opening *opening = (struct opening *)(void *)work;
    const struct flow_source *source = opening->call.batches->options.source;
    int status = source->open(&opening->open);
    if (status < 0) batches_host.fail(&opening->call, status, "%s", status_text(status));
}

static void open_done(struct io_work *work, bool cancelled) {
    struct opening *opening = (struct opening *)(void *)work;
    struct batches *batches = opening->call.batches;
    pthread_mutex_lock(&batches->lock);
    opening->done = true, opening->cancelled = cancelled;
    pthread_cond_broadcast(&batches->changed);
    pthread_mutex_unlock(&batches->lock);
}

/* What a call complained of, at the entry's place in the graph. */
static int tell(const struct batches *batches, const struct source_call *call, struct report *report) {
    if (call->code >= 0) return FLOW_OK;
    if (call->words.failed || call->code == FLOW_ERROR_MEMORY) return report_memory(report);
    return report_add(report, call->code, batches->options.at, "source '%s': %s", batches->options.source->name,
                      call->words.at ? call->words.at : status_text(call->code));
}

static int open_source(struct batches *batches, struct report *report) {
    struct opening opening = {.work = {.run = open_run, .done = open_done}};
    batches_call_init(&opening.call, batches, true);
    opening.open = (struct flow_source_open){.size = sizeof opening.open,
                                             .host = &batches_host,
                                             .owner = &opening.call,
                                             .path = batches->options.path,
                                             .attrs = batches->options.attrs,
                                             .batch = batches->options.batch,
                                             .seed = batches->options.seed};
    io_loop_work(batches->loop, &opening.work);
    pthread_mutex_lock(&batches->lock);
    while (!opening.done) pthread_cond_wait(&batches->changed, &batches->lock);
    pthread_mutex_unlock(&batches->lock);
    batches->state = opening.open.state, batches->rows = opening.open.rows;
    batches->opened = !opening.cancelled;
    int status = tell(batches, &opening.call, report);
    if (opening.cancelled) status = report_add(report, FLOW_ERROR_CANCELLED, batches->options.at, "reading was ended");
    batches_call_free(&opening.call);
    return status;
}

static int wrong(const struct batches *batches, struct report *report, int code, const char *format, ...) printf_like(4, 5);
static int wrong(const struct batches *batches, struct report *report, int code, const char *format, ...) {
    va_list arguments;
    struct text words;
    text_init(&words, batches->from);
    va_start(arguments, format);
    text_vformat(&words, format, arguments);
    va_end(arguments);
    const int status = words.failed
                           ? report_memory(report)
                           : report_add(report, code, batches->options.at, "source '%s'%s", batches->options.source->name, words.at);
    text_free(&words);
    return status;
}

/* Share of the rows, so that shares side by side leave none out. */
static int64_t share_of(int64_t rows, double share) {
    const double at = floor((double)rows * share + 1e-6);
    return at >= (double)rows ? rows : (int64_t)at;
}

static int choose_split(struct batches *batches, struct report *report) {
    const struct batches_options *options = &batches->options;
    const double from = options->split_from, to = options->split_to;
    const bool endless = batches->rows == INT64_MAX;
    if (batches->rows < 0) return wrong(batches, report, FLOW_ERROR_PLUGIN, " says that it has %lld rows", (long long)batches->rows);
    if (batches->rows == 0) return wrong(batches, report, FLOW_ERROR_FORMAT, " has no rows: an empty data set");
    if (!(from >= 0 && from < to && to <= 1))
        return wrong(batches, report, FLOW_ERROR_RANGE, ": the split [%g, %g) is not a part of [0, 1)", from, to);
    if (endless && (from > 0 || to < 1))
        return wrong(batches, report, FLOW_ERROR_USAGE, " is endless: there are no shares of its rows to split");
    batches->row_first = endless ? 0 : share_of(batches->rows, from);
    batches->row_end = endless ? INT64_MAX : share_of(batches->rows, to);
    if (batches->row_first >= batches->row_end)
        return wrong(batches, report, FLOW_ERROR_RANGE, ": the split [%g, %g) of %lld rows holds none", from, to, (long long)batches->rows);
    return FLOW_OK;
}

static int choose_batch(struct batches *batches, struct report *report) {
    const struct batches_options *options = &batches->options;
    const int64_t rows = batches->row_end - batches->row_first;
    const bool endless = batches->rows == INT64_MAX;
    if (options->shuffle && (options->source->flags & FLOW_SOURCE_ORDERED))
        return wrong(batches, report, FLOW_ERROR_USAGE, " gives rows that follow each other in time: they cannot be shuffled");
    if (options->batch == -1 && endless) return wrong(batches, report, FLOW_ERROR_USAGE, " is endless: a batch cannot hold all its rows");
    batches->batch = options->batch == -1 ? rows : options->batch;
    if (batches->batch < 1)
        return wrong(batches, report, FLOW_ERROR_RANGE, ": batch is %lld, expected 1 or more, or all", (long long)options->batch);
    const bool part = !endless && options->keep_last && rows % batches->batch != 0;
    batches->in_epoch = endless ? INT64_MAX : rows / batches->batch + part;
    if (batches->in_epoch == 0)
        return wrong(batches, report, FLOW_ERROR_USAGE, ": a batch of %lld is more than all %lld rows of the split",
                     (long long)batches->batch, (long long)rows);
    if (!endless && batches->batch > rows) batches->batch = rows;
    batches->once = batches->in_epoch == 1 && !options->shuffle && (options->source->flags & FLOW_SOURCE_CONSTANT);
    return FLOW_OK;
}

/* Places of the outputs in a slot's block. */
static int place_outputs(struct batches *batches, struct report *report) {
    int64_t end = 0;
    if (batches->output_count == 0) return wrong(batches, report, FLOW_ERROR_PLUGIN, " gives nothing");
    for (uint32_t i = 0; i < batches->output_count; i++) {
        struct output *output = &batches->outputs[i];
        if (!output->whole) output->type.shape[0] = batches->batch;
        io_strides(&output->type);
        if (!io_bytes(output->type.dtype, output->type.rank, output->type.shape, &output->bytes) || output->bytes > INT64_MAX / 2 - end)
            return wrong(batches, report, FLOW_ERROR_RANGE, ": batches of '%s' are larger than can be counted", output->name);
        output->offset = end;
        end = size_align(end + output->bytes, ALIGNMENT);
    }
    batches->block_bytes = end + ALIGNMENT;
    return FLOW_OK;
}

static int make_slots(struct batches *batches) {
    const struct batches_options *options = &batches->options;
    int32_t ahead = options->ahead > 0 ? options->ahead : AHEAD_DEFAULT,
            workers = options->workers > 0 ? options->workers : WORKERS_DEFAULT;
    if (ahead > AHEAD_MOST) ahead = AHEAD_MOST;
    if (workers > WORKERS_MOST) workers = WORKERS_MOST;
    batches->slot_count = batches->once ? 1 : ahead + 1; /* one is the caller's */
    batches->worker_count = batches->once ? 1 : workers;
    batches->slots = memory_array(batches->from, (size_t)batches->slot_count, sizeof *batches->slots);
    batches->workers = memory_array(batches->from, (size_t)batches->worker_count, sizeof *batches->workers);
    if (!batches->slots || !batches->workers) return FLOW_ERROR_MEMORY;
    for (int32_t i = 0; i < batches->worker_count; i++)
        batches->workers[i] = (struct worker){{.run = fill_slots, .done = worker_done}, batches, false};
    for (int32_t i = 0; i < batches->slot_count; i++) {
        struct slot *slot = &batches->slots[i];
        batches_call_init(&slot->call, batches, false);
        slot->tensors = memory_array(batches->from, batches->output_count, sizeof *slot->tensors);
        slot->rows = memory_array(batches->from, (size_t)batches->batch, sizeof *slot->rows);
        slot->block = memory_new(batches->from, (size_t)batches->block_bytes);
        if (!slot->tensors || !slot->rows || !slot->block) return FLOW_ERROR_MEMORY;
    }
    return FLOW_OK;
}

static int locks_init(struct batches *batches) {
    pthread_condattr_t monotonic;
    if (pthread_mutex_init(&batches->lock, NULL) != 0) return FLOW_ERROR_MEMORY;
    if (pthread_condattr_init(&monotonic) == 0) {
        pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
        const int error = pthread_cond_init(&batches->changed, &monotonic);
        pthread_condattr_destroy(&monotonic);
        if (!error) return FLOW_OK;
    }
    pthread_mutex_destroy(&batches->lock);
    return FLOW_ERROR_MEMORY;
}

int batches_open(struct io_loop *loop, const struct batches_options *options, struct report *report, struct batches **out) {
    const struct allocator *from = io_loop_allocator(loop);
    *out = NULL;
    struct batches *batches = memory_new(from, sizeof *batches);
    if (!batches) return report_memory(report);
    batches->loop = loop, batches->from = from, batches->options = *options;
    arena_init(&batches->arena, from);
    make_labels(batches);
    if (locks_init(batches) < 0) {
        memory_free(from, batches, sizeof *batches);
        return report_memory(report);
    }
    int status = options->first < 0
                     ? wrong(batches, report, FLOW_ERROR_USAGE, ": the first batch is number %lld", (long long)options->first)
                     : open_source(batches, report);
    if (status == FLOW_OK) status = choose_split(batches, report);
    if (status == FLOW_OK) status = choose_batch(batches, report);
    if (status == FLOW_OK) status = place_outputs(batches, report);
    if (status == FLOW_OK && make_slots(batches) < 0) status = report_memory(report);
    if (status == FLOW_OK) {
        batches->fill_next = batches->take_next = options->first;
        pthread_mutex_lock(&batches->lock);
        start_workers(batches);
        pthread_mutex_unlock(&batches->lock);
        *out = batches;
    } else batches_close(batches);
    return status;
}

static void slots_free(struct batches *batches) {
    for (int32_t i = 0; batches->slots && i < batches->slot_count; i++) {
        struct slot *slot = &batches->slots[i];
        batches_call_free(&slot->call);
        memory_free(batches->from, slot->tensors, batches->output_count * sizeof *slot->tensors);
        memory_free(batches->from, slot->rows, (size_t)batches->batch * sizeof *slot->rows);
        memory_free(batches->from, slot->block, (size_t)batches->block_bytes);
    }
    memory_free(batches->from, batches->slots, (size_t)batches->slot_count * sizeof *batches->slots);
    memory_free(batches->from, batches->workers, (size_t)batches->worker_count * sizeof *batches->workers);
}

void batches_close(struct batches *batches) {
    if (!batches) return;
    pthread_mutex_lock(&batches->lock);
    atomic_store(&batches->closing, true);
    pthread_cond_broadcast(&batches->changed);
    for (int32_t i = 0; i < batches->worker_count; i++)
        while (batches->workers && batches->workers[i].busy) pthread_cond_wait(&batches->changed, &batches->lock);
    pthread_mutex_unlock(&batches->lock);
    if (batches->opened && batches->state && batches->options.source->close) batches->options.source->close(batches->state);
    batches_files_close(batches);
    slots_free(batches);
    arena_free(&batches->arena);
    pthread_cond_destroy(&batches->changed);
    pthread_mutex_destroy(&batches->lock);
    memory_free(batches->from, batches, sizeof *batches);
}

/* ---- From the caller ------------------------------------------------------------------------------------------- */

size_t batches_outputs(const struct batches *batches) { return batches->output_count; }

const char *batches_name(const struct batches *batches, size_t output) { return batches->outputs[output].name; }

const struct flow_tensor *batches_type(const struct batches *batches, size_t output) { return &batches->outputs[output].type; }

int64_t batches_rows(const struct batches *batches) {
    return batches->rows == INT64_MAX ? INT64_MAX : batches->row_end - batches->row_first;
}

int64_t batches_in_epoch(const struct batches *batches) { return batches->in_epoch; }

double batches_waited(const struct batches *batches) { return batches->waited; }

void batches_cancel(struct batches *batches) {
    pthread_mutex_lock(&batches->lock);
    atomic_store(&batches->cancelled, true);
    pthread_cond_broadcast(&batches->changed);
    pthread_mutex_unlock(&batches->lock);
}

/* Gives back the batch that the caller had. */
static void let_go(struct batches *batches) {
    if (!batches->holding || batches->once) return;
    batches->slots[(batches->take_next - 1) % batches->slot_count].state = SLOT_FREE;
    batches->holding = false;
    start_workers(batches);
}

static bool waits_for(const struct batches *batches, const struct slot *slot) {
    if (slot->state == SLOT_READY && (slot->number == batches->take_next || batches->once)) return false;
    return !atomic_load(&batches->cancelled) && !batches->ended;
}

/* Under the lock, which is let go of meanwhile. */
static void wait_for(struct batches *batches, struct slot *slot) {
    const double start = batches_now();
    if (atomic_load(&slot->state) == SLOT_FILLING) {
        pthread_mutex_unlock(&batches->lock);
        while (atomic_load(&slot->state) == SLOT_FILLING && batches_now() - start < look) {}
        pthread_mutex_lock(&batches->lock);
    }
    batches->waiting = true;
    while (waits_for(batches, slot)) pthread_cond_wait(&batches->changed, &batches->lock);
    batches->waiting = false;
    batches->waited += batches_now() - start;
}

int batches_next(struct batches *batches, struct report *report, const struct flow_tensor **tensors, int64_t *number) {
    int status = FLOW_OK;
    *tensors = NULL, *number = 0;
    pthread_mutex_lock(&batches->lock);
    let_go(batches);
    struct slot *slot = &batches->slots[batches->take_next % batches->slot_count];
    struct trace_span span = {0};
    const bool waits = waits_for(batches, slot);
    if (waits && batches->wait_label) span = trace_begin(io_loop_trace(batches->loop), batches->wait_label);
    if (waits) wait_for(batches, slot);
    if (waits && batches->wait_label) trace_end(&span, batches->take_next);
    if (atomic_load(&batches->cancelled) || slot->state != SLOT_READY)
        status =
            report_add(report, FLOW_ERROR_CANCELLED, batches->options.at, "source '%s': reading was ended", batches->options.source->name);
    else status = tell(batches, &slot->call, report);
    if (status == FLOW_OK) {
        *tensors = slot->tensors, *number = batches->take_next++;
        batches->holding = true;
        record_ready(batches);
    }
    pthread_mutex_unlock(&batches->lock);
    return status;
}
