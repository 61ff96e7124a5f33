/* SPDX-License-Identifier: Apache-2.0 */
/* Whole wav files. */
#include "io/internal.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

int io_wav_read(struct tensor_file *file, struct report *report) {
    struct wav_header header;
    size_t used;
    const uint8_t *bytes = file->mapping;
    io_wav_header_init(&header);
    int status = io_wav_header_feed(&header, bytes, file->mapping_size, &used);
    if (status == 0) {
        io_wav_header_short(&header);
        status = FLOW_ERROR_FORMAT;
    }
    if (status < 0) return io_fail(report, status, file->path, "%s", header.error);
    const uint64_t there = file->mapping_size - used;
    /* An empty file may be followed by other chunks, if the head counts them. */
    if (header.data_size == 0 && !header.to_the_end && (uint64_t)header.riff_size + 8 != file->mapping_size) header.to_the_end = true;
    if (header.to_the_end) header.data_size = there - there % (uint64_t)header.block;
    if (header.data_size > there)
        return io_fail(report, FLOW_ERROR_FORMAT, file->path,
                       "is cut short: its samples should have %" PRIu64 " bytes, %" PRIu64 " are missing", header.data_size,
                       header.data_size - there);
    const int64_t frames = (int64_t)header.data_size / header.block;
    status = io_single(file, FLOW_F32, 2, (const int64_t[]){header.channels, frames});
    if (status < 0) return status;
    float *samples = arena_array(&file->arena, (size_t)(header.channels * frames), sizeof *samples);
    if (!samples) return FLOW_ERROR_MEMORY;
    io_wav_convert(&header, bytes + used, frames, samples, frames);
    file->entries[0].tensor.data = samples;
    file->rate = header.rate;
    return FLOW_OK;
}

/* ---- Writing ---- */

static void put_u16(struct out *out, uint32_t value) { io_out_put(out, (const uint8_t[]){(uint8_t)value, (uint8_t)(value >> 8)}, 2); }
static void put_u32(struct out *out, uint32_t value) { put_u16(out, value & 0xFFFF), put_u16(out, value >> 16); }

static void put_header(struct out *out, bool floats, int64_t channels, uint32_t rate, uint32_t data_size, uint32_t frames) {
    const uint32_t bytes = floats ? 4 : 2, block = (uint32_t)channels * bytes;
    io_out_put(out, "RIFF", 4);
    put_u32(out, (floats ? 50 : 36) + data_size);
    io_out_put(out, "WAVEfmt ", 8);
    put_u32(out, floats ? 18 : 16);
    put_u16(out, floats ? 3 : 1), put_u16(out, (uint32_t)channels);
    put_u32(out, rate), put_u32(out, rate * block);
    put_u16(out, block), put_u16(out, bytes * 8);
    if (floats) { /* formats other than integers have an extension, and say how long they are */
        put_u16(out, 0);
        io_out_put(out, "fact", 4);
        put_u32(out, 4), put_u32(out, frames);
    }
    io_out_put(out, "data", 4);
    put_u32(out, data_size);
}

static int put_sample(struct out *out, bool floats, float value) {
    if (floats) {
        uint32_t bits;
        memcpy(&bits, &value, sizeof bits);
        put_u32(out, bits);
        return FLOW_OK;
    }
    if (isnan(value)) return FLOW_ERROR_RANGE;
    const float scaled = value * 32768.0f;
    const long rounded = scaled >= 32767.0f ? 32767 : scaled <= -32768.0f ? -32768 : lrintf(scaled);
    put_u16(out, (uint32_t)rounded & 0xFFFF);
    return FLOW_OK;
}

int io_wav_write(struct out *out, const struct flow_tensor *tensor, const struct tensor_write_options *options, struct report *report) {
    const char *path = out->path;
    if (tensor->dtype != FLOW_F32)
        return io_fail(report, FLOW_ERROR_TYPE, path, "a wav file takes f32 samples, not %s", dtype_name(tensor->dtype));
    if (tensor->rank != 1 && tensor->rank != 2)
        return io_fail(report, FLOW_ERROR_SHAPE, path, "a wav file takes [S] or [C, S], not a tensor of rank %d", tensor->rank);
    const int64_t channels = tensor->rank == 2 ? tensor->shape[0] : 1, frames = tensor->shape[tensor->rank - 1];
    if (channels < 1 || channels > 256)
        return io_fail(report, FLOW_ERROR_SHAPE, path, "a wav file takes [C, S] with 1 to 256 channels, not %" PRId64, channels);
    if (!(options->rate >= 1 && options->rate <= 1e9) || options->rate != floor(options->rate))
        return io_fail(report, FLOW_ERROR_RANGE, path, "a wav file needs its sample rate, a whole number of Hz, not %g", options->rate);
    const int64_t most = (INT64_C(0xFFFFFFFF) - 64) / (channels * (options->float32 ? 4 : 2));
    if (frames > most)
        return io_fail(report, FLOW_ERROR_RANGE, path, "%" PRId64 " samples are too many for a wav file: %" PRId64 " fit", frames, most);
    const int64_t size = frames * channels * (options->float32 ? 4 : 2);
    put_header(out, options->float32, channels, (uint32_t)options->rate, (uint32_t)size, (uint32_t)frames);
    const int64_t across = tensor->rank == 2 ? tensor->strides[0] : 0, along = tensor->strides[tensor->rank - 1];
    const float *at = tensor->data;
    for (int64_t i = 0; i < frames && !out->error; i++)
        for (int64_t c = 0; c < channels; c++)
            if (put_sample(out, options->float32, at[c * across + i * along]) < 0)
                return io_fail(report, FLOW_ERROR_RANGE, path, "sample %" PRId64 " of channel %" PRId64 " is not a number", i, c);
    return FLOW_OK;
}
