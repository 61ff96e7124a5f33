/* SPDX-License-Identifier: Apache-2.0 */
/* Samples of a wav file, a pipe or a terminal, piece by piece. The loop thread reads ahead into a ring of bytes; this side takes them
 * out, finds the head of the file and turns the rest into floats, on the consumer's thread. */
#include "io/internal.h"
#include "io/loop.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

enum { PIECE_BYTES = 16384 };

struct wave_reader {
    const struct allocator *from;
    char *path;
    size_t path_size;
    struct stream *stream;
    struct wav_header header;
    uint64_t left;        /* bytes of samples still to come, where their number is known */
    pthread_mutex_t lock; /* of the two below: a reader may be closed while another thread waits for samples */
    pthread_cond_t changed;
    int inside;
    bool closing;
    uint8_t piece[PIECE_BYTES];
};

/* Standard input, as a descriptor of our own. Reading without blocking must not change what other programs share with us: pipes and
 * terminals are opened anew. A named pipe is not, since the end of writers from before the opening would never be told; *restore then holds
 * the flags to put back, as it does where opening anew fails. */
static int open_input(int *restore) {
    struct stat about;
    struct statfs system;
    *restore = -1;
    if (fstat(STDIN_FILENO, &about) < 0) return -1;
    const bool terminal = isatty(STDIN_FILENO),
               named = S_ISFIFO(about.st_mode) && (fstatfs(STDIN_FILENO, &system) < 0 || system.f_type != PIPEFS_MAGIC);
    if (terminal || (S_ISFIFO(about.st_mode) && !named)) {
        const int file = open("/proc/self/fd/0", O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
        if (file >= 0) return file;
    }
    if (terminal || S_ISFIFO(about.st_mode) || S_ISSOCK(about.st_mode)) *restore = fcntl(STDIN_FILENO, F_GETFL);
    return fcntl(STDIN_FILENO, F_DUPFD_CLOEXEC, 3);
}

static int open_stream(struct io_loop *loop, const char *path, struct report *report, struct stream **out) {
    int restore = -1;
    const int file = strcmp(path, "-") == 0 ? open_input(&restore) : open(path, O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
    struct stat about;
    if (file < 0) return io_fail(report, FLOW_ERROR_IO, path, "cannot be opened: %s", strerror(errno));
    if (fstat(file, &about) == 0 && S_ISDIR(about.st_mode)) {
        close(file);
        return io_fail(report, FLOW_ERROR_IO, path, "is a folder, not a file");
    }
    const int status = io_stream_open(loop, file, restore, out);
    return status < 0 ? report_memory(report) : status;
}

static int stream_failed(struct wave_reader *reader, struct report *report) {
    const int error = io_stream_error(reader->stream);
    if (error == 0) return FLOW_OK;
    if (error == UV_ECANCELED) return io_fail(report, FLOW_ERROR_CANCELLED, reader->path, "reading was ended");
    return io_fail(report, FLOW_ERROR_IO, reader->path, "cannot be read: %s", uv_strerror(error));
}

/* Reads up to where the samples begin. */
static int read_header(struct wave_reader *reader, struct report *report) {
    struct wav_header *header = &reader->header;
    io_wav_header_init(header);
    if (strcmp(reader->path, "-") == 0) { /* raw samples, unless it begins as a wav file does */
        uint8_t first[4] = {0};
        const size_t there = io_stream_wait(reader->stream, sizeof first);
        io_stream_peek(reader->stream, first, there < sizeof first ? there : sizeof first);
        const int status = there < sizeof first ? stream_failed(reader, report) : FLOW_OK;
        if (status < 0) return status;
        if (memcmp(first, "RIFF", 4) != 0 && memcmp(first, "RIFX", 4) != 0 && memcmp(first, "RF64", 4) != 0) {
            io_wav_header_raw(header);
            return FLOW_OK;
        }
    }
    for (int status = 0; status == 0;) {
        size_t there = io_stream_wait(reader->stream, 1), used;
        if (there > PIECE_BYTES) there = PIECE_BYTES;
        if (there == 0) {
            status = stream_failed(reader, report);
            if (status < 0) return status;
            io_wav_header_short(header);
            return io_fail(report, FLOW_ERROR_FORMAT, reader->path, "%s", header->error);
        }
        io_stream_peek(reader->stream, reader->piece, there);
        status = io_wav_header_feed(header, reader->piece, there, &used);
        io_stream_take(reader->stream, used);
        if (status < 0) return io_fail(report, status, reader->path, "%s", header->error);
    }
    reader->left = header->data_size;
    return FLOW_OK;
}

int wave_reader_open(struct io_loop *loop, const char *path, struct report *report, struct wave_reader **out) {
    const struct allocator *from = io_loop_allocator(loop);
    *out = NULL;
    struct wave_reader *reader = memory_new(from, sizeof *reader);
    if (!reader) return report_memory(report);
    reader->from = from;
    pthread_mutex_init(&reader->lock, NULL); /* neither fails on Linux */
    pthread_cond_init(&reader->changed, NULL);
    reader->path_size = strlen(path) + 1;
    reader->path = memory_new(from, reader->path_size);
    int status = reader->path ? FLOW_OK : report_memory(report);
    if (status == FLOW_OK) {
        memcpy(reader->path, path, reader->path_size);
        status = open_stream(loop, path, report, &reader->stream);
    }
    if (status == FLOW_OK) status = read_header(reader, report);
    if (status < 0) wave_reader_close(reader);
    else *out = reader;
    return status;
}

void wave_reader_close(struct wave_reader *reader) {
    if (!reader) return;
    pthread_mutex_lock(&reader->lock);
    reader->closing = true;
    if (reader->inside) io_stream_cancel(reader->stream);
    while (reader->inside) pthread_cond_wait(&reader->changed, &reader->lock);
    pthread_mutex_unlock(&reader->lock);
    io_stream_close(reader->stream);
    pthread_cond_destroy(&reader->changed);
    pthread_mutex_destroy(&reader->lock);
    memory_free(reader->from, reader->path, reader->path_size);
    memory_free(reader->from, reader, sizeof *reader);
}

void wave_reader_cancel(struct wave_reader *reader) { io_stream_interrupt(reader->stream); }

int wave_reader_channels(const struct wave_reader *reader) { return reader->header.channels; }
double wave_reader_rate(const struct wave_reader *reader) { return reader->header.rate; }

/* Samples that are there, at most `most`; 0 at the end. A last sample of which only a part came counts for nothing where the length is
 * unknown. */
static int take(struct wave_reader *reader, int64_t most, float *samples, int64_t stride, int64_t *got, struct report *report) {
    const struct wav_header *header = &reader->header;
    const size_t block = (size_t)header->block;
    uint64_t wanted = (uint64_t)most;
    *got = 0;
    if (!header->to_the_end && reader->left / block < wanted) wanted = reader->left / block;
    if (wanted == 0) return FLOW_OK;
    size_t frames = io_stream_wait(reader->stream, block) / block;
    if (frames == 0) {
        int status = stream_failed(reader, report);
        if (status == FLOW_OK && !header->to_the_end)
            status = io_fail(report, FLOW_ERROR_FORMAT, reader->path, "is cut short: %llu bytes of its samples are missing",
                             (unsigned long long)reader->left);
        return status;
    }
    if (frames > wanted) frames = (size_t)wanted;
    if (frames > PIECE_BYTES / block) frames = PIECE_BYTES / block;
    io_stream_peek(reader->stream, reader->piece, frames * block);
    io_stream_take(reader->stream, frames * block);
    io_wav_convert(header, reader->piece, (int64_t)frames, samples, stride);
    reader->left -= header->to_the_end ? 0 : frames * block;
    *got = (int64_t)frames;
    return FLOW_OK;
}

int wave_reader_next(struct wave_reader *reader, int64_t least, int64_t count, float *samples, int64_t stride, int64_t *got,
                     struct report *report) {
    int status = FLOW_OK;
    *got = 0;
    if (least < 1) least = 1;
    if (least > count) least = count;
    pthread_mutex_lock(&reader->lock);
    const bool closing = reader->closing;
    if (!closing) reader->inside++;
    pthread_mutex_unlock(&reader->lock);
    if (closing) return FLOW_ERROR_CANCELLED;
    /* Waits only while there is less than `least`, but takes all that is there. */
    for (int64_t piece = 1; *got < least && piece > 0 && status == FLOW_OK; *got += piece)
        status = take(reader, count - *got, samples + *got, stride, &piece, report);
    while (status == FLOW_OK && *got > 0 && *got < count && io_stream_wait(reader->stream, 0) >= (size_t)reader->header.block) {
        int64_t piece;
        status = take(reader, count - *got, samples + *got, stride, &piece, report);
        *got += piece;
        if (piece == 0) break;
    }
    pthread_mutex_lock(&reader->lock);
    reader->inside--;
    pthread_cond_broadcast(&reader->changed);
    pthread_mutex_unlock(&reader->lock);
    return status;
}
