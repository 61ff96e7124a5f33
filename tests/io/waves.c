/* SPDX-License-Identifier: Apache-2.0 */
/* Samples piece by piece, ahead of the consumer: files, pipes, terminals; ends, damage, closing at any moment. */
#include "io/io_test.h"
#include "io/wav_test.h"

#include "harness/failing.h"

#include <dirent.h>
#include <fcntl.h>
#include <math.h>
#include <pthread.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>

static struct io_loop *loop;

static void start(void) {
    io_start();
    cr_assert_eq(io_loop_new(&memory_default, &loop), 0);
}
static void stop(void) {
    io_loop_free(loop);
    io_stop();
}
TestSuite(waves, .init = start, .fini = stop, .timeout = 60);

static struct wave_reader *reader_of(const char *path) {
    struct wave_reader *reader;
    const int status = wave_reader_open(loop, path, &report, &reader);
    cr_assert_eq(status, 0, "%s: %s", path, message());
    return reader;
}

/* A long stereo file whose sample i of channel c is (2i + c) % 65536 - 32768. */
enum { LONG = 300000 };
static int16_t *long_samples(void) {
    int16_t *samples = malloc(2 * LONG * sizeof *samples);
    for (int i = 0; i < 2 * LONG; i++) samples[i] = (int16_t)(i % 65536 - 32768);
    return samples;
}
static const char *long_file(void) {
    struct wav_made w = {0};
    wav_head(&w, 1, 2, 16000, 16, 1);
    wav_chunk(&w, "LIST", "odd", 3);
    wav_chunk(&w, "data", "", 0);
    wav_set(&w, w.last + 4, 4 * LONG);
    const char *path = wav_put(&w, "long.wav");
    FILE *file = fopen(path, "ab");
    int16_t *samples = long_samples();
    cr_assert_eq(fwrite(samples, 4, LONG, file), LONG);
    fputs("tailtrailing chunk", file);
    fclose(file);
    free(samples);
    return path;
}

/* Reads to the end in pieces of changing size; checks every sample of the long file. */
static void check_long(struct wave_reader *reader, int64_t least, int64_t count) {
    static float samples[2][LONG];
    int64_t total = 0, got;
    do {
        cr_assert_eq(wave_reader_next(reader, least, count, &samples[0][0], LONG, &got, &report), 0, "%s", message());
        cr_assert(got <= count && (got >= least || total + got == LONG), "%lld after %lld", (long long)got, (long long)total);
        for (int64_t i = 0; i < got; i++)
            for (int c = 0; c < 2; c++) {
                const float wanted = (float)((2 * (total + i) + c) % 65536 - 32768) / 32768.0f;
                cr_assert_eq(samples[c][i], wanted, "sample %lld", (long long)(total + i));
            }
        total += got;
    } while (got);
    cr_expect_eq(total, LONG);
    cr_assert_eq(wave_reader_next(reader, least, count, &samples[0][0], LONG, &got, &report), 0);
    cr_expect_eq(got, 0, "the end stays the end");
}

Test(waves, a_file) {
    const char *path = long_file();
    const int64_t sizes[][2] = {{1, 1000}, {160, 160}, {1, LONG}, {LONG, LONG}, {99999, 100000}, {7, 4099}};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        struct wave_reader *reader = reader_of(path);
        cr_expect_eq(wave_reader_channels(reader), 2);
        cr_expect_eq(wave_reader_rate(reader), 16000);
        check_long(reader, sizes[i][0], sizes[i][1]);
        wave_reader_close(reader);
    }
}

/* The same as the whole file read at once, for each kind of sample. */
Test(waves, agrees_with_the_whole_file) {
    const struct { int tag, bits; } kinds[] = {{1, 8}, {1, 16}, {1, 24}, {1, 32}, {3, 32}, {3, 64}};
    for (size_t k = 0; k < sizeof kinds / sizeof *kinds; k++) {
        struct wav_made w = {0};
        unsigned char bytes[7 * 3 * 8];
        for (size_t i = 0; i < sizeof bytes; i++) bytes[i] = (unsigned char)(i * 37 % 61);
        wav_head(&w, 0xFFFE, 3, 44100, kinds[k].bits, kinds[k].tag);
        wav_chunk(&w, "data", bytes, (size_t)(7 * 3 * kinds[k].bits / 8));
        const char *path = wav_put(&w, "a.wav");
        struct tensor_file *file = opened(path);
        struct wave_reader *reader = reader_of(path);
        float samples[3][7];
        int64_t got;
        cr_expect_eq(wave_reader_next(reader, 7, 7, &samples[0][0], 7, &got, &report), 0);
        cr_expect_eq(got, 7);
        cr_expect_arr_eq(samples, tensor_file_get(file, "")->data, sizeof samples);
        wave_reader_close(reader);
        tensor_file_close(file);
    }
}

struct feeding {
    int file;
    const void *bytes;
    size_t size, piece;
    int pause_us;
};

static void *feed(void *context) {
    const struct feeding *f = context;
    for (size_t done = 0; done < f->size;) {
        const size_t n = f->size - done < f->piece ? f->size - done : f->piece;
        const ssize_t written = write(f->file, (const char *)f->bytes + done, n);
        if (written <= 0) break;
        done += (size_t)written;
        if (f->pause_us) usleep((useconds_t)f->pause_us);
    }
    close(f->file);
    return NULL;
}

/* Puts the reading end in place of standard input. */
static void as_input(int file) {
    cr_assert_eq(dup2(file, STDIN_FILENO), STDIN_FILENO);
    if (file != STDIN_FILENO) close(file);
}

Test(waves, standard_input_is_a_pipe) {
    size_t size;
    const unsigned char *bytes = get_file(long_file(), &size);
    static unsigned char all[1 << 21];
    FILE *file = fopen(in_folder("long.wav"), "rb");
    size = fread(all, 1, sizeof all, file);
    fclose(file);
    (void)bytes;
    const size_t pieces[] = {65536, 4096, 1023};
    for (int i = 0; i < 3; i++) {
        int ends[2];
        cr_assert_eq(pipe(ends), 0);
        as_input(ends[0]);
        struct feeding feeding = {ends[1], all, size, pieces[i], 0};
        pthread_t thread;
        pthread_create(&thread, NULL, feed, &feeding);
        struct wave_reader *reader = reader_of("-");
        check_long(reader, i == 1 ? 160 : 1, i == 2 ? 5000 : 160);
        wave_reader_close(reader);
        cr_expect_eq(fcntl(STDIN_FILENO, F_GETFL) & O_NONBLOCK, 0, "standard input is left as it was");
        freopen("/dev/null", "r", stdin); /* lets the writer go if it still writes */
        pthread_join(thread, NULL);
    }
}

Test(waves, byte_by_byte) {
    struct wav_made w = {0};
    wav_head(&w, 1, 2, 8000, 24, 1);
    wav_chunk(&w, "data", "\0\0\x40\0\0\xC0\0\0\x20\0\0\xE0", 12);
    int ends[2];
    cr_assert_eq(pipe(ends), 0);
    as_input(ends[0]);
    struct feeding feeding = {ends[1], w.bytes, w.size, 1, 200};
    pthread_t thread;
    pthread_create(&thread, NULL, feed, &feeding);
    struct wave_reader *reader = reader_of("-");
    float samples[4];
    int64_t got;
    cr_expect_eq(wave_reader_next(reader, 2, 2, samples, 2, &got, &report), 0);
    const float wanted[4] = {0.5f, 0.25f, -0.5f, -0.25f};
    cr_expect_arr_eq(samples, wanted, sizeof wanted);
    wave_reader_close(reader);
    pthread_join(thread, NULL);
}

Test(waves, raw_samples) {
    const char *texts[] = {"", "\1", "\0\x40", "\0\x40\0\xC0\0\x20", "\0\x40\0\xC0\7"};
    const size_t sizes[] = {0, 1, 2, 6, 5};
    for (int i = 0; i < 5; i++) {
        int ends[2];
        float samples[8];
        int64_t got;
        cr_assert_eq(pipe(ends), 0);
        cr_assert_eq(write(ends[1], texts[i], sizes[i]), (ssize_t)sizes[i]);
        close(ends[1]);
        as_input(ends[0]);
        struct wave_reader *reader = reader_of("-");
        cr_expect(wave_reader_channels(reader) == 1 && wave_reader_rate(reader) == 0);
        cr_expect_eq(wave_reader_next(reader, 8, 8, samples, 8, &got, &report), 0);
        cr_expect_eq(got, (int64_t)sizes[i] / 2, "text %d", i);
        if (got == 3) cr_expect(samples[0] == 0.5f && samples[1] == -0.5f && samples[2] == 0.25f);
        wave_reader_close(reader);
    }
}

/* Files, sockets, named pipes whose writer has come and gone, as standard input. */
Test(waves, other_kinds_of_input) {
    const char bytes[] = "skip\0\x40\0\xC0";
    for (int kind = 0; kind < 3; kind++) {
        float samples[2];
        int64_t got;
        if (kind == 0) { /* a file, from where it stands */
            const int file = open(put_file("raw", bytes, 8), O_RDONLY);
            lseek(file, 4, SEEK_SET);
            as_input(file);
        } else if (kind == 1) {
            int ends[2];
            cr_assert_eq(socketpair(AF_UNIX, SOCK_STREAM, 0, ends), 0);
            cr_assert_eq(write(ends[1], bytes + 4, 4), 4);
            close(ends[1]);
            as_input(ends[0]);
        } else {
            cr_assert_eq(mkfifo(in_folder("fifo"), 0600), 0);
            const int reading = open(in_folder("fifo"), O_RDONLY | O_NONBLOCK), writing = open(in_folder("fifo"), O_WRONLY);
            cr_assert_eq(write(writing, bytes + 4, 4), 4);
            close(writing);
            fcntl(reading, F_SETFL, 0);
            as_input(reading);
        }
        struct wave_reader *reader = reader_of("-");
        cr_expect_eq(wave_reader_next(reader, 2, 2, samples, 2, &got, &report), 0);
        cr_expect(got == 2 && samples[0] == 0.5f && samples[1] == -0.5f, "kind %d", kind);
        cr_expect_eq(wave_reader_next(reader, 2, 2, samples, 2, &got, &report), 0);
        cr_expect_eq(got, 0, "kind %d", kind);
        wave_reader_close(reader);
        cr_expect_eq(fcntl(STDIN_FILENO, F_GETFL) & O_NONBLOCK, 0, "kind %d", kind);
    }
}

Test(waves, a_terminal) {
    const int master = posix_openpt(O_RDWR | O_NOCTTY);
    cr_assert(master >= 0 && grantpt(master) == 0 && unlockpt(master) == 0);
    const int slave = open(ptsname(master), O_RDONLY | O_NOCTTY);
    cr_assert(slave >= 0);
    as_input(slave);
    cr_assert_eq(write(master, "ab\n\4\4", 5), 5); /* a line, then the end of input */
    struct wave_reader *reader = reader_of("-");
    float samples[8];
    int64_t got;
    cr_expect_eq(wave_reader_next(reader, 8, 8, samples, 8, &got, &report), 0, "%s", message());
    cr_expect_eq(got, 1);
    cr_expect_eq(samples[0], (float)('a' + 256 * 'b') / 32768.0f);
    wave_reader_close(reader);
    close(master);
}

Test(waves, damage) {
    struct wav_made w = {0};
    struct wave_reader *reader;
    float samples[8];
    int64_t got;
    wav_head(&w, 1, 1, 8000, 16, 1);
    wav_chunk(&w, "data", "12345678", 8);
    w.size -= 3, w.keep_sizes = true;
    reader = reader_of(wav_put(&w, "a.wav"));
    cr_expect_eq(wave_reader_next(reader, 4, 4, samples, 4, &got, &report), FLOW_ERROR_FORMAT);
    cr_expect(got == 2 && strcmp(message(), "is cut short: 4 bytes of its samples are missing") == 0, "%d, %s", (int)got, message());
    wave_reader_close(reader);
    w.size = 20;
    cr_expect_eq(wave_reader_open(loop, wav_put(&w, "a.wav"), &report, &reader), FLOW_ERROR_FORMAT);
    cr_expect_str_eq(message(), "it ends after 20 bytes, before its samples begin");
    cr_expect_null(reader);
    cr_expect_eq(wave_reader_open(loop, put_file("a.wav", "1234", 4), &report, &reader), FLOW_ERROR_FORMAT,
                 "only standard input may be raw");
    cr_expect_eq(wave_reader_open(loop, put_file("a.wav", "", 0), &report, &reader), FLOW_ERROR_FORMAT);
    cr_expect_str_eq(message(), "the file is empty");
    cr_expect_eq(wave_reader_open(loop, in_folder("none.wav"), &report, &reader), FLOW_ERROR_IO);
    cr_expect_str_eq(message(), "cannot be opened: No such file or directory");
    cr_expect_eq(wave_reader_open(loop, folder, &report, &reader), FLOW_ERROR_IO);
}

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* Endless input: only so much is read ahead, and memory stays what it is. */
Test(waves, reads_only_so_far_ahead) {
    int ends[2];
    static char zeros[1 << 16];
    cr_assert_eq(pipe(ends), 0);
    as_input(ends[0]);
    fcntl(ends[1], F_SETFL, O_NONBLOCK);
    struct failing counted = FAILING_INIT;
    const struct allocator from = failing_allocator(&counted);
    struct io_loop *mine;
    struct wave_reader *reader;
    cr_assert_eq(io_loop_new(&from, &mine), 0);
    cr_assert_eq(write(ends[1], zeros, 8), 8);
    cr_assert_eq(wave_reader_open(mine, "-", &report, &reader), 0);
    int64_t taken = 0;
    size_t most = 0;
    for (int round = 0; round < 20; round++) {
        int64_t written = 0;
        for (const double end = now() + 0.02; now() < end;) {
            const ssize_t n = write(ends[1], zeros, sizeof zeros);
            if (n > 0) written += n;
            cr_assert(written < 1 << 20, "the ring and the pipe hold far less");
        }
        if (round == 0) most = counted.most;
        for (int i = 0; i < 10; i++) {
            static float samples[1000];
            int64_t got;
            cr_assert_eq(wave_reader_next(reader, 1000, 1000, samples, 1000, &got, &report), 0);
            taken += got;
        }
    }
    cr_expect_eq(taken, 200000);
    cr_expect_eq(counted.most, most, "nothing was allocated while it ran");
    wave_reader_close(reader);
    io_loop_free(mine);
    cr_expect_eq(counted.blocks, 0);
    close(ends[1]);
}

static int open_files(void) {
    int count = 0;
    DIR *stream = opendir("/proc/self/fd");
    while (readdir(stream)) count++;
    closedir(stream);
    return count;
}

struct waiting {
    struct wave_reader *reader;
    int status;
    _Atomic pid_t thread; /* the kernel's number, once it is about to wait */
};

/* Does the thread sleep? Nothing but waiting for samples makes it. */
static bool asleep(pid_t thread) {
    char path[64], line[256] = "";
    snprintf(path, sizeof path, "/proc/self/task/%d/stat", (int)thread);
    FILE *file = thread ? fopen(path, "r") : NULL;
    if (file && fgets(line, sizeof line, file) == NULL) line[0] = 0;
    if (file) fclose(file);
    const char *after = strrchr(line, ')');
    return after && after[1] == ' ' && after[2] == 'S';
}

static void *wait_for_samples(void *context) {
    struct waiting *w = context;
    struct report mine;
    float samples[2][1000];
    int64_t got;
    report_init(&mine, &memory_default);
    w->thread = (pid_t)syscall(SYS_gettid);
    do w->status = wave_reader_next(w->reader, 1000, 1000, &samples[0][0], 1000, &got, &mine);
    while (w->status == 0 && got);
    report_free(&mine);
    return NULL;
}

/* Silent pipes, files in the middle of a read, with and without somebody waiting; the reader first or the loop first. */
Test(waves, closed_at_any_moment) {
    const char *path = long_file();
    cr_assert_eq(mkfifo(in_folder("fifo"), 0600), 0);
    char fifo[128];
    strcpy(fifo, in_folder("fifo"));
    const int before = open_files();
    for (int i = 0; i < 240; i++) {
        struct io_loop *mine;
        struct failing counted = FAILING_INIT;
        const struct allocator from = failing_allocator(&counted);
        cr_assert_eq(io_loop_new(&from, &mine), 0);
        struct waiting w = {0};
        const bool silent = i % 2, loop_first = i / 4 % 2, waiting = i / 2 % 2 && (silent || loop_first);
        int writing = -1;
        if (silent) { /* a head, then nothing */
            struct wav_made head = {0};
            wav_head(&head, 1, 1, 8000, 16, 1);
            wav_chunk(&head, "data", "", 0);
            wav_set(&head, head.last + 4, 0xFFFFFFFFu);
            writing = open(fifo, O_RDWR);
            cr_assert_eq(write(writing, head.bytes, head.size), (ssize_t)head.size);
        }
        cr_assert_eq(wave_reader_open(mine, silent ? fifo : path, &report, &w.reader), 0, "%s", message());
        pthread_t thread;
        if (waiting) pthread_create(&thread, NULL, wait_for_samples, &w);
        usleep((useconds_t)(i % 7) * 100);
        if (loop_first) {
            io_loop_free(mine);
            if (waiting) pthread_join(thread, NULL);
            wave_reader_close(w.reader);
        } else {
            while (waiting && !asleep(w.thread)) usleep(100); /* to be closed, it must be in the midst of a call */
            wave_reader_close(w.reader);
            if (waiting) pthread_join(thread, NULL);
            io_loop_free(mine);
        }
        if (waiting) cr_assert(w.status == FLOW_ERROR_CANCELLED || (!silent && w.status == 0), "%d in round %d", w.status, i);
        if (writing >= 0) close(writing);
        cr_assert_eq(counted.blocks, 0, "round %d", i);
    }
    cr_expect_eq(open_files(), before, "no descriptor is left open");
}

Test(waves, memory_runs_out) {
    const char *path = long_file();
    const int before = open_files();
    for (long at = 1;; at++) {
        struct failing counted = FAILING_INIT;
        counted.fail_at = at;
        const struct allocator from = failing_allocator(&counted);
        struct io_loop *mine;
        struct wave_reader *reader;
        int status = io_loop_new(&from, &mine);
        if (status == 0) {
            status = wave_reader_open(mine, path, &report, &reader);
            if (status == 0) wave_reader_close(reader);
            io_loop_free(mine);
        }
        cr_assert(status == 0 || status == FLOW_ERROR_MEMORY);
        cr_assert_eq(counted.blocks, 0);
        if (counted.requests < at) break;
        cr_assert_eq(status, FLOW_ERROR_MEMORY);
    }
    cr_expect_eq(open_files(), before);
}

/* Many readers at once on one loop. */
Test(waves, many_at_once) {
    const char *path = long_file();
    struct waiting w[8] = {0};
    pthread_t threads[8];
    for (int i = 0; i < 8; i++) {
        w[i].reader = reader_of(path);
        pthread_create(&threads[i], NULL, wait_for_samples, &w[i]);
    }
    for (int i = 0; i < 8; i++) {
        pthread_join(threads[i], NULL);
        cr_expect_eq(w[i].status, 0);
        wave_reader_close(w[i].reader);
    }
}
