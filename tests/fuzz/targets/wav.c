/* SPDX-License-Identifier: Apache-2.0 */
/* A whole file, and the same header from a pipe, which brings it in pieces. */
#include "targets/fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size) {
    fuzz_file(bytes, size, "fuzz.wav", io_wav_read);
    struct wav_header whole, pieces;
    size_t used = 0, at = 0;
    int status = 0;
    io_wav_header_init(&whole), io_wav_header_init(&pieces);
    const int first = io_wav_header_feed(&whole, bytes, size, &used);
    while (status == 0 && at < size) {
        size_t piece = 1 + (at * 7) % 5, taken = 0;
        if (piece > size - at) piece = size - at;
        status = io_wav_header_feed(&pieces, bytes + at, piece, &taken);
        if (taken > piece) abort();
        at += taken;
        if (status == 0 && taken < piece) abort(); /* more is wanted, yet something is left */
    }
    if (size && (status != first || (first == 1 && (at != used || memcmp(&pieces.rate, &whole.rate, sizeof whole.rate))))) abort();
    return 0;
}
