/* SPDX-License-Identifier: Apache-2.0 */
/* Inside the room: what the formats share. */
#ifndef FLOW_IO_INTERNAL_H
#define FLOW_IO_INTERNAL_H

#include "io/io.h"

/* ---- file.c: opening by ending ---- */

/* An error of a whole file: adds its name. Returns `code`. */
int io_fail(struct report *report, int code, const char *path, const char *format, ...) printf_like(4, 5);
/* One tensor named "", contiguous, of known extents: fills in everything but the data. */
int must_use io_single(struct tensor_file *file, int32_t dtype, int32_t rank, const int64_t *shape);
/* Elements, and bytes, of a shape; false where they overflow or an extent is negative. */
bool io_elements(int32_t rank, const int64_t *shape, int64_t *count);
bool io_bytes(int32_t dtype, int32_t rank, const int64_t *shape, int64_t *bytes);
/* Row-major strides. */
void io_strides(struct flow_tensor *tensor);
/* Where its data can be used as they lie in the file: `at`, else a copy in the arena. NULL when memory ran out. */
void *io_aligned(struct arena *arena, const uint8_t *at, int64_t bytes, int32_t dtype);
/* Index of the first byte that is neither 0 nor 1, else -1: other bytes must never be read as bool. */
int64_t io_bool_wrong(const uint8_t *at, int64_t count);

/* The first bytes of the file, `size` of them or all there are (mapping_size); NULL: they could not be read, the report says why. */
const uint8_t *io_head(struct tensor_file *file, uint64_t size, struct report *report);

/* Readers of one format each: the file is not empty. They fill in entries, metadata, rate. Those of formats that can be mapped look at what
 * io_head gave alone where file->mapped, and return IO_WHOLE where that is not enough: they are then called again with the whole file. */
enum { IO_WHOLE = 1 };
int must_use io_safetensors_read(struct tensor_file *file, struct report *report);
int must_use io_npy_read(struct tensor_file *file, struct report *report);
int must_use io_wav_read(struct tensor_file *file, struct report *report);
int must_use io_csv_read(struct tensor_file *file, struct report *report);

/* ---- out.c: a file that appears whole or not at all ---- */

enum { OUT_BUFFER = 16384 };

struct out {
    const char *path;                        /* as it was given: for messages */
    char target[4096], temporary[4096 + 32]; /* links followed; "" : a device or pipe, written to directly */
    int file;
    int error; /* errno of the first failure: later writes do nothing */
    size_t used;
    uint8_t buffer[OUT_BUFFER];
};
int must_use io_out_open(struct out *out, const char *path, struct report *report);
void io_out_put(struct out *out, const void *bytes, size_t size);
void io_out_format(struct out *out, const char *format, ...) printf_like(2, 3); /* at most 255 characters */
/* All elements in row-major order, as they lie in memory. */
void io_out_tensor(struct out *out, const struct flow_tensor *tensor);
/* Ends it: with `status` 0 the target is replaced, else, or when anything failed, removed is what was written. Returns status or the
 * failure. */
int must_use io_out_close(struct out *out, int status, struct report *report);

int must_use io_safetensors_write(const struct allocator *from, struct out *out, const struct tensor_write *tensors, size_t count,
                                  const struct tensor_write_options *options, struct report *report);
int must_use io_npy_write(struct out *out, const struct flow_tensor *tensor, struct report *report);
int must_use io_wav_write(struct out *out, const struct flow_tensor *tensor, const struct tensor_write_options *options,
                          struct report *report);
int must_use io_csv_write(struct out *out, const struct flow_tensor *tensor, struct report *report);

/* Row-major walk over a tensor of any strides: address of the next element, NULL at the end. */
struct walk {
    const struct flow_tensor *tensor;
    int64_t index[FLOW_RANK_MAX];
    int64_t left, offset, bytes;
};
bool must_use io_walk_init(struct walk *walk, const struct flow_tensor *tensor); /* false: extents overflow */
const void *io_walk_next(struct walk *walk);

/* ---- wav_header.c: the chunks before the samples, byte by byte, from a file or a pipe ---- */

struct wav_header {
    uint8_t held[64]; /* of the chunk in hand */
    size_t held_count, wanted;
    uint64_t skip;     /* bytes to pass over */
    uint64_t position; /* bytes seen */
    int state;
    uint32_t riff_size, chunk_size;
    bool has_format;
    /* what it says */
    int32_t tag; /* 1: integers, 3: floats */
    int32_t channels, bits;
    int64_t block; /* bytes of one sample of all channels */
    double rate;
    uint64_t data_size;
    bool to_the_end; /* the size is unknown: it ends where the file ends */
    char error[160];
};
void io_wav_header_init(struct wav_header *header);
/* Takes bytes of the stream; *used of them. 1: the samples begin behind them; 0: more is needed; negative: `error` says why. */
int must_use io_wav_header_feed(struct wav_header *header, const uint8_t *bytes, size_t size, size_t *used);
/* The stream ended within the header: what to say. */
void io_wav_header_short(struct wav_header *header);
/* No header: 16-bit little-endian integers of one channel, to the end. */
void io_wav_header_raw(struct wav_header *header);
/* `frames` samples of each channel to floats: samples[channel * stride + i]. */
void io_wav_convert(const struct wav_header *header, const uint8_t *bytes, int64_t frames, float *samples, int64_t stride);

#endif
