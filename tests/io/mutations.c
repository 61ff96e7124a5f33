/* SPDX-License-Identifier: Apache-2.0 */
/* Files with random damage: whatever happens to them, reading ends, in good order, without more memory than a small multiple of their size.
 * A second each; FLOW_FUZZ_SECONDS and FLOW_FUZZ_FILES (paths, ':' between them) say otherwise. */
#include "io/io_test.h"
#include "io/wav_test.h"

#include "harness/failing.h"

#include <time.h>

static uint64_t state = 88172645463325252u;
static uint64_t random_bits(void) {
    state ^= state << 13, state ^= state >> 7;
    return state ^= state << 17;
}

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* One to eight changes, more often near the beginning: bytes, digits, lengths, cuts, copies. */
static size_t mutate(unsigned char *bytes, size_t size) {
    for (uint64_t changes = 1 + random_bits() % 8; changes && size; changes--) {
        const size_t reach = random_bits() % 3 ? (size < 400 ? size : 400) : size, at = (size_t)(random_bits() % reach);
        switch (random_bits() % 8) {
        case 0: bytes[at] = (unsigned char)random_bits(); break;
        case 1: bytes[at] ^= (unsigned char)(1u << random_bits() % 8); break;
        case 2: bytes[at] = (unsigned char)"0123456789,:\"{}[]()'-.\n"[random_bits() % 23]; break;
        case 3: size = at; break;
        case 4: memset(bytes + at, random_bits() % 2 ? 0xFF : 0, size - at < 4 ? size - at : 4); break;
        case 5: memmove(bytes + at, bytes + at + 1, size - at - 1), size--; break;
        case 6:
            if (size >= 16) memmove(bytes + at % (size - 8), bytes + random_bits() % (size - 8), 8);
            break;
        default: bytes[at] = (unsigned char)(bytes[at] + (random_bits() % 2 ? 1 : -1)); break;
        }
    }
    return size;
}

static long good, bad;

/* The tensors of a file that was accepted are all there to be read. */
static uint64_t touch(const struct tensor_file *file) {
    uint64_t sum = 0;
    for (size_t i = 0; i < file->count; i++) {
        const struct flow_tensor *t = &file->entries[i].tensor;
        int64_t count = 1;
        for (int32_t k = 0; k < t->rank; k++) count *= t->shape[k];
        for (int64_t j = 0; j < count * dtype_bytes(t->dtype); j += 61) sum += ((const unsigned char *)t->data)[j];
        if (count) sum += ((const unsigned char *)t->data)[count * dtype_bytes(t->dtype) - 1];
        cr_assert_eq(tensor_file_get(file, file->entries[i].name), t);
    }
    return sum;
}

/* A wav file read piece by piece is what it is as a whole: the same samples, or refused as well. */
static struct io_loop *loop;
static void compare_pieces(const char *path, const struct tensor_file *whole) {
    static float samples[1 << 18];
    struct report mine;
    struct wave_reader *reader;
    report_init(&mine, &memory_default);
    int status = wave_reader_open(loop, path, &mine, &reader);
    int64_t total = 0, got = 1;
    if (status == 0) {
        const int channels = wave_reader_channels(reader);
        const int64_t most = (1 << 18) / channels;
        cr_assert(!whole || whole->entries[0].tensor.shape[0] == channels);
        while (status == 0 && got) {
            status = wave_reader_next(reader, 1, most, samples, most, &got, &mine);
            const int64_t frames = whole ? whole->entries[0].tensor.shape[1] : 0;
            for (int c = 0; whole && c < channels; c++)
                cr_assert(total + got <= frames &&
                          memcmp(samples + c * most, (const float *)whole->entries[0].tensor.data + c * frames + total, (size_t)got * 4) ==
                              0);
            total += got;
        }
        cr_assert(!whole || total == whole->entries[0].tensor.shape[1]);
    }
    cr_assert((status == 0) == (whole != NULL), "%s", mine.last ? mine.last->text : "");
    if (reader) wave_reader_close(reader);
    report_free(&mine);
}

/* The one difference: how far a file goes whose samples have no bytes, but which counts more, only its length tells. */
static bool claims_nothing(const unsigned char *bytes, size_t size) {
    for (size_t i = 12; i + 8 <= size; i++)
        if (memcmp(bytes + i, "data\0\0\0", 8) == 0) return true;
    return false;
}

static void read_one(const char *name, const unsigned char *bytes, size_t size) {
    struct failing counted = FAILING_INIT;
    const struct allocator from = failing_allocator(&counted);
    struct report mine;
    struct tensor_file *file;
    const char *path = put_file(name, bytes, size);
    report_init(&mine, &from);
    const int status = tensor_file_open(&from, path, &mine, &file);
    cr_assert((status == 0) == (mine.count == 0));
    if (status == 0) touch(file);
    *(status == 0 ? &good : &bad) += 1;
    if (strstr(name, ".wav") && !claims_nothing(bytes, size)) compare_pieces(path, file);
    tensor_file_close(file);
    report_free(&mine);
    cr_assert_eq(counted.blocks, 0);
    cr_assert(counted.most < 400 * size + (1 << 17), "%zu bytes of memory for a file of %zu", counted.most, size);
}

static void start(void) {
    io_start();
    cr_assert_eq(io_loop_new(&memory_default, &loop), 0);
}
static void stop(void) {
    io_loop_free(loop);
    io_stop();
}
TestSuite(mutations, .init = start, .fini = stop, .timeout = 3600);

static void mutations_of(const char *name, const unsigned char *bytes, size_t size, double seconds) {
    static unsigned char changed[1 << 20];
    const double end = now() + seconds;
    for (int trial = 0; trial < 300 || now() < end; trial++) { /* on a busy machine, too, some of each kind */
        memcpy(changed, bytes, size);
        read_one(name, changed, mutate(changed, size));
    }
}

static double seconds_of(double otherwise) {
    const char *seconds = getenv("FLOW_FUZZ_SECONDS");
    return seconds ? atof(seconds) : otherwise;
}

Test(mutations, of_every_format) {
    float values[60] = {1, 2, 3};
    uint8_t flags[5] = {1, 0, 1, 1, 0};
    struct flow_tensor t = tensor_of(FLOW_F32, values, 6, 10), u = tensor_of(FLOW_BOOL, flags, 5, -1),
                       v = tensor_of(FLOW_F64, values, 0, 3);
    const struct tensor_write writes[] = {{"weight", &t}, {"some.flags", &u}, {"empty", &v}};
    const struct tensor_write_options options = {
        .rate = 8000, .metadata = (const char *const[]){"rtol", "1e-4", "reference", "\xC3\xA9 \"quoted\"", NULL}};
    const char *names[] = {"a.safetensors", "a.npy", "a.wav", "a.csv", "b.wav"};
    for (int i = 0; i < 5; i++) {
        const char *path = in_folder(names[i]);
        if (i < 4) cr_assert_eq(tensor_file_write(&memory_default, path, writes, i ? 1 : 3, &options, &report), 0, "%s", message());
        struct wav_made w = {0};
        wav_head(&w, 0xFFFE, 2, 48000, 24, 1);
        wav_chunk(&w, "LIST", "odd", 3);
        wav_chunk(&w, "data", "123456123456", 12);
        if (i == 4) path = wav_put(&w, names[i]);
        size_t size;
        static unsigned char bytes[1 << 16];
        memcpy(bytes, get_file(path, &size), sizeof bytes);
        good = bad = 0;
        mutations_of(names[i], bytes, size, seconds_of(0.5));
        fprintf(stderr, "%s: %ld read, %ld refused\n", names[i], good, bad);
        cr_expect(good && bad, "both happen");
    }
}

Test(mutations, of_files_given) {
    const char *given = getenv("FLOW_FUZZ_FILES");
    if (!given) given = "";
    char *const list = strdup(given), *at = list;
    for (char *path; (path = strsep(&at, ":"));) {
        const char *ending = strrchr(path, '.');
        if (!ending) continue;
        static unsigned char bytes[1 << 20];
        char name[64];
        size_t size;
        memcpy(bytes, get_file(path, &size), sizeof bytes);
        snprintf(name, sizeof name, "given%s", ending);
        good = bad = 0;
        if (size) mutations_of(name, bytes, size, seconds_of(0.5));
        fprintf(stderr, "%s: %ld read, %ld refused\n", path, good, bad);
    }
    free(list);
}
