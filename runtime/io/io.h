/* SPDX-License-Identifier: Apache-2.0 */
/* Files of tensors. All parsing treats the file as hostile. Writing goes to a temporary file beside the target, is flushed to the disk and
 * renamed, so that a target is whole or as it was. Files are read, not mapped: one that another program makes shorter meanwhile is an error
 * (a mapped one would end this program, SIGBUS), and what was read stays as it was. */
#ifndef FLOW_IO_IO_H
#define FLOW_IO_IO_H

#include "base/report.h"
#include "base/text.h"

struct tensor_entry {
    const char *name;
    struct flow_tensor tensor; /* contiguous; data is valid until tensor_file_close */
};

struct tensor_file {
    struct arena arena;
    const char *path;
    struct tensor_entry *entries; /* in order of name */
    size_t count;
    struct {
        const char *key, *value;
    } * metadata;
    size_t metadata_count;
    double rate;   /* wav: samples a second; else 0 */
    void *mapping; /* the file's bytes: memory of `from`, or, where `mapped`, the file itself, which nothing here looks into */
    size_t mapping_size;
    bool mapped;
    void *block; /* what `mapping` lies in, 64-byte aligned */
    size_t block_size;
};

/* Opens by ending: .safetensors (the header is checked whole), .npy (one tensor, named ""), .wav (one tensor [channels, samples]
 * f32 in [-1, 1), named ""), .csv (one tensor [rows, columns] f32, named ""; the columns' names, where a first row has them, in metadata
 * "0", "1", ...). Bools are 0 or 1, data are aligned for their type. */
int must_use tensor_file_open(const struct allocator *from, const char *path, struct report *report, struct tensor_file **out);
/* The same for a table that may be larger than memory: of .safetensors and .npy only the header is read. The tensors' data then lie in a
 * mapping of the file: where they are tells the place in the file, from which to read them; touching them trusts the file not to shrink,
 * and bools are not looked at. */
int must_use tensor_file_map(const struct allocator *from, const char *path, struct report *report, struct tensor_file **out);
/* A safetensors file's bytes in memory, that stay where they are until tensor_file_close; `name` stands in messages. */
int must_use tensor_file_image(const struct allocator *from, const char *name, const void *bytes, size_t size, struct report *report,
                               struct tensor_file **out);
void tensor_file_close(struct tensor_file *file);
const struct flow_tensor *tensor_file_get(const struct tensor_file *file, const char *name); /* NULL */
const char *tensor_file_metadata(const struct tensor_file *file, const char *key);           /* NULL */

/* Writes by ending. safetensors take any number of tensors, the others one. Strided tensors are written in row-major order.
 * wav: [S], [1, S] or [C, S] f32 clipped to [-1, 1], as 16-bit PCM (`float32` true: as floats, unchanged) at `rate`. csv: rank 1 or 2. */
struct tensor_write {
    const char *name;
    const struct flow_tensor *tensor;
};
struct tensor_write_options {
    double rate;
    bool float32;
    const char *const *metadata; /* key, value, key, value, NULL; safetensors */
};
int must_use tensor_file_write(const struct allocator *from, const char *path, const struct tensor_write *tensors, size_t count,
                               const struct tensor_write_options *options, struct report *report);
/* Any text or bytes, in the same safe way. */
int must_use file_write(const char *path, const void *bytes, size_t size, struct report *report);

/* The same for what is made piece by piece: the target is replaced when it is closed with status 0. */
struct file_stream;
int must_use file_stream_open(const struct allocator *from, const char *path, struct report *report, struct file_stream **out);
void file_stream_put(struct file_stream *stream, const void *bytes, size_t size);
int must_use file_stream_close(struct file_stream *stream, int status, struct report *report);

/* A sequence that is read piece by piece, through the libuv loop: ahead of the consumer, into a bounded ring, never more. */
struct io_loop;
int must_use io_loop_new(const struct allocator *from, struct io_loop **out);
struct trace;
/* The same, its reads recorded. `trace` outlives it; NULL is legal. */
int must_use io_loop_traced(const struct allocator *from, struct trace *trace, struct io_loop **out);
void io_loop_free(struct io_loop *loop);

/* Samples of a wav file, or of standard input (path "-": a wav stream, or, without its header, raw 16-bit little-endian mono).
 * Reads at most `count` samples of each channel into samples[channel * stride + i]; *got 0 at the end. Blocks until there are some:
 * `least` of them, or the end. A file that ends before its head says so is an error (*got then counts what came before it). A reader
 * may be closed, and the loop freed, while another thread waits here: it then gets FLOW_ERROR_CANCELLED. Close readers all the same. */
struct wave_reader;
int must_use wave_reader_open(struct io_loop *loop, const char *path, struct report *report, struct wave_reader **out);
void wave_reader_close(struct wave_reader *reader);
void wave_reader_cancel(
    struct wave_reader *reader); /* [any thread, signal handlers] waiting ends with FLOW_ERROR_CANCELLED, now and later */
int wave_reader_channels(const struct wave_reader *reader);
double wave_reader_rate(const struct wave_reader *reader); /* 0: unknown (raw) */
int must_use wave_reader_next(struct wave_reader *reader, int64_t least, int64_t count, float *samples, int64_t stride, int64_t *got,
                              struct report *report);

#endif
