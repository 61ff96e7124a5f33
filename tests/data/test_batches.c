/* SPDX-License-Identifier: Apache-2.0 */
/* The ring: which rows come when, backpressure, errors, cancelling, slow devices, memory that runs out. */
#include "data/data_test.h"

#include "harness/failing.h"

#include <flow/random.h>
#include <math.h>
#include <pthread.h>
#include <time.h>

TestSuite(batches, .init = data_start, .fini = data_stop, .timeout = 60);

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* A source of numbers: row r gives r and a number drawn for it. It can be told to fail, to wait, to be endless. */
struct numbers {
    int64_t rows, fail_row, open_status;
    long wait_us;
    bool whole, silent;
    int64_t fills, closes; /* of the source that is open, one at a time here */
    pthread_mutex_t lock;
    int inside, most_inside;
};

static int64_t fills_of(struct numbers *numbers) {
    pthread_mutex_lock(&numbers->lock);
    int64_t fills = numbers->fills;
    pthread_mutex_unlock(&numbers->lock);
    return fills;
}

static int numbers_open(struct flow_source_open *open) {
    struct numbers *numbers = (struct numbers *)(uintptr_t)open->attrs;
    open->state = numbers;
    open->rows = numbers->rows;
    const int64_t shape[] = {3};
    if (numbers->open_status < 0)
        return numbers->silent ? (int)numbers->open_status : open->host->fail(open->owner, (int)numbers->open_status, "will not");
    int status = open->host->output(open->owner, "row", FLOW_I64, 0, NULL, false);
    if (status == 0) status = open->host->output(open->owner, "draw", FLOW_F64, 0, NULL, false);
    if (status == 0 && numbers->whole) status = open->host->output(open->owner, "all", FLOW_F32, 1, shape, true);
    return status;
}

static int numbers_fill(const struct flow_source_fill *fill) {
    struct numbers *numbers = fill->state;
    pthread_mutex_lock(&numbers->lock);
    numbers->fills++;
    if (++numbers->inside > numbers->most_inside) numbers->most_inside = numbers->inside;
    pthread_mutex_unlock(&numbers->lock);
    if (numbers->wait_us) nanosleep(&(struct timespec){0, numbers->wait_us * 1000 * (1 + fill->rows[0] % 3)}, NULL);
    int status = 0;
    for (int64_t i = 0; i < fill->count; i++) {
        uint32_t words[4];
        flow_philox(fill->seed, (uint64_t)fill->rows[i], 0, words);
        ((int64_t *)fill->out[0].data)[i] = fill->rows[i];
        ((double *)fill->out[1].data)[i] = flow_uniform_f64(words[0], words[1]);
        if (fill->rows[i] == numbers->fail_row) status = fill->host->fail(fill->owner, FLOW_ERROR_IO, "row %d is bad", (int)fill->rows[i]);
    }
    if (numbers->whole) {
        fill->out[2].shape[0] = 1 + fill->rows[0] % 3;
        for (int64_t i = 0; i < fill->out[2].shape[0]; i++) ((float *)fill->out[2].data)[i] = (float)i;
    }
    pthread_mutex_lock(&numbers->lock);
    numbers->inside--;
    pthread_mutex_unlock(&numbers->lock);
    return status;
}

static void numbers_close(void *state) { ((struct numbers *)state)->closes++; }

static const struct flow_source source = {
    .size = sizeof source, .name = "numbers", .open = numbers_open, .fill = numbers_fill, .close = numbers_close};
static const struct flow_source ordered = {.size = sizeof source,
                                           .flags = FLOW_SOURCE_ORDERED,
                                           .name = "ordered",
                                           .open = numbers_open,
                                           .fill = numbers_fill,
                                           .close = numbers_close};

#define NUMBERS(count) \
    { .rows = count, .fail_row = -1, .lock = PTHREAD_MUTEX_INITIALIZER }

static struct batches_options options_for(struct numbers *numbers, int64_t batch) {
    return (struct batches_options){.source = &source, .attrs = numbers, .batch = batch, .split_to = 1};
}

static const int64_t *rows_of(const struct flow_tensor *tensors) { return tensors[0].data; }

Test(batches, permutations) {
    for (uint64_t count = 1; count < 400; count += count < 70 ? 1 : 37) {
        char seen[400];
        int moved = 0, differ = 0;
        memset(seen, 0, sizeof seen);
        for (uint64_t i = 0; i < count; i++) {
            const uint64_t at = flow_permute(7, i, count);
            cr_assert(at < count && !seen[at], "%d of %d", (int)i, (int)count);
            seen[at] = 1, moved += at != i, differ += at != flow_permute(8, i, count);
        }
        if (count > 20) cr_expect(moved > (int)count * 3 / 4 && differ > (int)count * 3 / 4, "%d", (int)count);
    }
    /* Each place comes to each place about as often. */
    int often[10][10] = {{0}};
    for (uint64_t key = 0; key < 10000; key++)
        for (uint64_t i = 0; i < 10; i++) often[i][flow_permute(key * 0x9E3779B97F4A7C15u, i, 10)]++;
    for (int i = 0; i < 10; i++)
        for (int j = 0; j < 10; j++) cr_expect(often[i][j] > 850 && often[i][j] < 1150, "%d to %d: %d", i, j, often[i][j]);
    cr_expect(flow_permute(1, (UINT64_C(1) << 62) + 5, (UINT64_C(1) << 62) + 6) <= (UINT64_C(1) << 62) + 5);
}

Test(batches, epochs_are_permutations_and_differ) {
    struct numbers numbers = NUMBERS(103);
    struct batches_options options = options_for(&numbers, 10);
    options.shuffle = true, options.keep_last = true, options.seed = 11;
    struct batches *batches = opened(&options);
    cr_expect_eq(batches_in_epoch(batches), 11);
    int64_t before[103];
    for (int epoch = 0; epoch < 4; epoch++) {
        char seen[103] = {0};
        int64_t order[103], count = 0;
        for (int n = 0; n < 11; n++) {
            const struct flow_tensor *tensors = next(batches, epoch * 11 + n);
            cr_assert_eq(tensors[0].shape[0], n == 10 ? 3 : 10);
            for (int64_t i = 0; i < tensors[0].shape[0]; i++) order[count++] = rows_of(tensors)[i];
        }
        for (int i = 0; i < 103; i++) cr_expect(!seen[order[i]]++, "row %d twice", (int)order[i]);
        int same = 0;
        for (int i = 0; epoch && i < 103; i++) same += order[i] == before[i];
        cr_expect(same < 20, "%d rows at the same place in two epochs", same);
        memcpy(before, order, sizeof order);
    }
    batches_close(batches);
    cr_expect_eq(numbers.closes, 1);
    check_resumes(&options, 30);
    options.shuffle = false;
    check_resumes(&options, 30);
    options.keep_last = false;
    batches = opened(&options);
    cr_expect_eq(batches_in_epoch(batches), 10);
    batches_close(batches);
}

Test(batches, splits_leave_none_out) {
    struct numbers numbers = NUMBERS(37);
    char seen[37] = {0};
    const double borders[] = {0, 0.3, 0.35, 0.9, 1};
    for (int part = 0; part < 4; part++) {
        struct batches_options options = options_for(&numbers, 1);
        options.split_from = borders[part], options.split_to = borders[part + 1], options.shuffle = true;
        struct batches *batches = opened(&options);
        for (int64_t n = 0; n < batches_rows(batches); n++) seen[rows_of(next(batches, n))[0]]++;
        batches_close(batches);
    }
    for (int i = 0; i < 37; i++) cr_expect_eq(seen[i], 1, "row %d", i);
}

Test(batches, draws_depend_on_epoch_and_row_alone) {
    struct numbers numbers = NUMBERS(12);
    double drawn[3][12];
    for (int kind = 0; kind < 3; kind++) { /* other batches, another order; another seed */
        struct batches_options options = options_for(&numbers, kind ? 3 : 4);
        options.shuffle = kind == 1, options.seed = kind == 2 ? 2 : 1;
        struct batches *batches = opened(&options);
        for (int64_t n = 0; n < 12 / options.batch; n++) {
            const struct flow_tensor *tensors = next(batches, n);
            for (int64_t i = 0; i < options.batch && !options.shuffle; i++)
                drawn[kind][rows_of(tensors)[i]] = ((double *)tensors[1].data)[i];
            for (int64_t i = 0; i < options.batch && options.shuffle; i++)
                drawn[kind][rows_of(tensors)[i]] = ((double *)tensors[1].data)[i];
        }
        if (kind == 0) cr_expect_neq(((double *)next(batches, 3)[1].data)[0], drawn[0][0], "another epoch, another draw");
        batches_close(batches);
    }
    cr_expect_arr_eq(drawn[0], drawn[1], sizeof drawn[0]);
    for (int i = 0; i < 12; i++) cr_expect_neq(drawn[0][i], drawn[2][i]);
}

Test(batches, a_full_ring_stops_reading) {
    struct numbers numbers = NUMBERS(INT64_MAX);
    struct batches_options options = options_for(&numbers, 2);
    options.ahead = 3;
    struct batches *batches = opened(&options);
    cr_expect_eq(batches_in_epoch(batches), INT64_MAX);
    cr_expect_eq(batches_rows(batches), INT64_MAX);
    nanosleep(&(struct timespec){0, 100000000}, NULL);
    cr_expect(fills_of(&numbers) <= 4, "%d", (int)fills_of(&numbers));
    for (int64_t n = 0; n < 100; n++) {
        const struct flow_tensor *tensors = next(batches, n);
        cr_expect_eq(rows_of(tensors)[0], 2 * n);
        cr_expect_eq((uintptr_t)tensors[1].data % 64, 0);
    }
    nanosleep(&(struct timespec){0, 100000000}, NULL);
    cr_expect(fills_of(&numbers) <= 104, "%d", (int)fills_of(&numbers));
    batches_close(batches);
}

Test(batches, several_are_filled_at_once_and_come_in_order) {
    struct numbers numbers = NUMBERS(1000);
    numbers.wait_us = 2000;
    struct batches_options options = options_for(&numbers, 1);
    options.workers = 3, options.ahead = 6;
    struct batches *batches = opened(&options);
    const double start = now();
    for (int64_t n = 0; n < 60; n++) cr_expect_eq(rows_of(next(batches, n))[0], n);
    const double seconds = now() - start;
    cr_expect(batches_waited(batches) > 0.5 * seconds && batches_waited(batches) <= seconds);
    batches_close(batches);
    cr_expect_eq(numbers.most_inside, 3);
    cr_expect(seconds < 60 * 4e-3 * 0.8, "%g s", seconds);
}

Test(batches, whole_outputs_may_be_smaller) {
    struct numbers numbers = NUMBERS(9);
    numbers.whole = true;
    struct batches_options options = options_for(&numbers, 1);
    struct batches *batches = opened(&options);
    cr_expect_eq(batches_type(batches, 2)->shape[0], 3);
    for (int64_t n = 0; n < 9; n++) cr_expect_eq(next(batches, n)[2].shape[0], 1 + n % 3);
    batches_close(batches);
}

Test(batches, errors_come_at_their_batch) {
    struct numbers numbers = NUMBERS(100);
    numbers.fail_row = 57;
    for (int32_t workers = 1; workers <= 4; workers += 3) {
        struct batches_options options = options_for(&numbers, 5);
        options.workers = workers, options.at = (struct position){"graph.yaml", 7, 3};
        struct batches *batches = opened(&options);
        const struct flow_tensor *tensors;
        int64_t number;
        for (int64_t n = 0; n < 11; n++) next(batches, n);
        for (int again = 0; again < 3; again++) {
            cr_expect_eq(batches_next(batches, &report, &tensors, &number), FLOW_ERROR_IO);
            cr_expect_str_eq(message(), "source 'numbers': row 57 is bad");
            cr_expect_eq(report.last->at.line, 7);
            cr_expect_null(tensors);
        }
        batches_close(batches);
    }
}

Test(batches, wrong_wishes) {
    struct numbers numbers = NUMBERS(100);
    struct batches_options options = options_for(&numbers, 0);
    refused_with(&options, FLOW_ERROR_RANGE, "batch is 0, expected 1 or more, or all");
    options = options_for(&numbers, 101);
    refused_with(&options, FLOW_ERROR_USAGE, "a batch of 101 is more than all 100 rows");
    options = options_for(&numbers, INT64_MAX / 4);
    options.keep_last = true; /* all that there are */
    struct batches *batches = opened(&options);
    cr_expect_eq(next(batches, 0)[0].shape[0], 100);
    batches_close(batches);
    options = options_for(&numbers, 1);
    options.split_from = 0.5, options.split_to = 0.5;
    refused_with(&options, FLOW_ERROR_RANGE, "is not a part of [0, 1)");
    options.split_from = 0.501, options.split_to = 0.502;
    refused_with(&options, FLOW_ERROR_RANGE, "of 100 rows holds none");
    options = options_for(&numbers, 1);
    options.split_to = (double)NAN;
    refused_with(&options, FLOW_ERROR_RANGE, "is not a part of");
    options = options_for(&numbers, 1);
    options.first = -1;
    refused_with(&options, FLOW_ERROR_USAGE, "the first batch is number -1");
    options = options_for(&numbers, 1);
    options.source = &ordered, options.shuffle = true;
    refused_with(&options, FLOW_ERROR_USAGE, "cannot be shuffled");
    numbers.rows = INT64_MAX;
    options = options_for(&numbers, -1);
    refused_with(&options, FLOW_ERROR_USAGE, "a batch cannot hold all its rows");
    options = options_for(&numbers, 1);
    options.split_to = 0.5;
    refused_with(&options, FLOW_ERROR_USAGE, "is endless");
    options = options_for(&numbers, INT64_MAX / 3);
    refused_with(&options, FLOW_ERROR_RANGE, "larger than can be counted");
    numbers.rows = 0;
    options = options_for(&numbers, 1);
    refused_with(&options, FLOW_ERROR_FORMAT, "has no rows: an empty data set");
    numbers.rows = -5;
    refused_with(&options, FLOW_ERROR_PLUGIN, "says that it has -5 rows");
    numbers.open_status = FLOW_ERROR_USAGE;
    refused_with(&options, FLOW_ERROR_USAGE, "source 'numbers': will not");
    numbers.silent = true;
    refused_with(&options, FLOW_ERROR_USAGE, "source 'numbers': wrong usage");
    cr_expect_eq(numbers.closes, 14, "%d", (int)numbers.closes);
}

static void *cancel_later(void *batches) {
    nanosleep(&(struct timespec){0, 50000000}, NULL);
    batches_cancel(batches);
    return NULL;
}

Test(batches, cancelling_wakes_who_waits) {
    struct numbers numbers = NUMBERS(100);
    numbers.wait_us = 300000;
    struct batches_options options = options_for(&numbers, 1);
    struct batches *batches = opened(&options);
    const struct flow_tensor *tensors;
    int64_t number;
    pthread_t thread;
    cr_assert_eq(pthread_create(&thread, NULL, cancel_later, batches), 0);
    const double start = now();
    cr_expect_eq(batches_next(batches, &report, &tensors, &number), FLOW_ERROR_CANCELLED);
    cr_expect(now() - start < 0.29, "the fill takes 0.3 s");
    cr_expect_eq(batches_next(batches, &report, &tensors, &number), FLOW_ERROR_CANCELLED);
    pthread_join(thread, NULL);
    batches_close(batches);
    cr_expect_eq(numbers.inside, 0, "closing waits for what is being read");
}

/* A slow device: 400 KB at 2 MB/s take 0.2 s; the training that needs less waits for the first batch alone. */
Test(batches, slow_devices) {
    static char bytes[400000];
    for (size_t i = 0; i < sizeof bytes; i++) bytes[i] = (char)i;
    put_file("t.bin", bytes, sizeof bytes);
    struct batches_options options = options_of("text", "t.bin", "{window: 9999}");
    options.rate = 2e6;
    double start = now();
    struct batches *batches = opened(&options);
    for (int64_t n = 0; n < 39; n++) {
        const struct flow_tensor *tensors = next(batches, n);
        for (int64_t i = 0; i < 9999; i++) cr_assert_eq(((int64_t *)tensors[0].data)[i], (uint8_t)(n * 9999 + i));
    }
    batches_close(batches);
    double seconds = now() - start;
    cr_expect(seconds > 0.18 && seconds < 5, "%g s", seconds);
    for (int trial = 0; trial < 10; trial++) { /* the machine may be busy with something else */
        batches = opened(&options);
        for (int64_t n = 0; n < 39; n++) {
            next(batches, n);
            nanosleep(&(struct timespec){0, 8000000}, NULL); /* a step of 8 ms; a batch is read in 5 */
        }
        seconds = batches_waited(batches);
        batches_close(batches);
        if (seconds < 0.05 * 39 * 0.008) break;
    }
    cr_expect(seconds < 0.05 * 39 * 0.008, "waited %g s", seconds);
    /* Cancelled, and closed, while the device is waited for. */
    options.rate = 1000;
    batches = opened(&options);
    pthread_t thread;
    const struct flow_tensor *tensors;
    int64_t number;
    cr_assert_eq(pthread_create(&thread, NULL, cancel_later, batches), 0);
    start = now();
    cr_expect_eq(batches_next(batches, &report, &tensors, &number), FLOW_ERROR_CANCELLED);
    pthread_join(thread, NULL);
    batches_close(batches);
    batches = opened(&options);
    batches_close(batches);
    cr_expect(now() - start < 10, "400 KB at 1 KB/s would take minutes");
}

/* Every allocation fails once: an error, nothing lost, nothing hangs. */
Test(batches, memory_that_runs_out) {
    put_text("t.txt", "some words and more words, enough for a window or two of text");
    struct batches_options options = options_of("text", "t.txt", "{window: 5, unit: char}");
    bool done = false;
    for (long at = 1; !done; at++) {
        struct failing failing = {.lock = PTHREAD_MUTEX_INITIALIZER, .fail_at = at};
        const struct allocator from = {&failing, failing_resize};
        struct report said;
        struct io_loop *own;
        struct batches *batches = NULL;
        const struct flow_tensor *tensors;
        int64_t number;
        report_init(&said, &memory_default);
        if (io_loop_new(&from, &own) == 0) {
            int status = batches_open(own, &options, &said, &batches);
            for (int n = 0; status == 0 && n < 5; n++) status = batches_next(batches, &said, &tensors, &number);
            cr_expect(status == 0 || status == FLOW_ERROR_MEMORY, "request %ld: %d", at, status);
            done = status == 0;
            batches_close(batches);
            io_loop_free(own);
        }
        cr_expect_eq(failing.blocks, 0, "request %ld: %ld blocks are left", at, failing.blocks);
        cr_expect(!failing.wrong_size);
        report_free(&said);
        cr_assert(at < 1000);
    }
}
