/* SPDX-License-Identifier: Apache-2.0 */
#include "text.h"

#include <string.h>

int vocabulary_check(const struct flow_call *call, const struct vocabulary *v) {
    for (int64_t i = 0; i < v->count; i++)
        if (v->lengths[i] < 0 || v->lengths[i] > v->width)
            return call->host->fail(call->owner, FLOW_ERROR_RANGE, "lengths[%lld] is %d, expected 0 to %lld: pieces are that wide",
                                    (long long)i, v->lengths[i], (long long)v->width);
    return FLOW_OK;
}

int64_t vocabulary_slots(int64_t count) {
    int64_t slots = 4;
    while (slots < 2 * count) slots *= 2;
    return slots;
}

/* FNV-1a, its bits mixed once more: the index takes the low ones. */
static uint64_t hash(const uint8_t *bytes, int64_t length) {
    uint64_t h = 0xCBF29CE484222325u;
    for (int64_t i = 0; i < length; i++) h = (h ^ bytes[i]) * 0x100000001B3u;
    return h ^ (h >> 29);
}

static bool equal(const struct vocabulary *v, int32_t piece, const uint8_t *bytes, int64_t length) {
    return v->lengths[piece] == length && memcmp(v->pieces + piece * v->width, bytes, (size_t)length) == 0;
}

void vocabulary_index(const struct vocabulary *v, int64_t hidden, int32_t *slot, int64_t slots) {
    memset(slot, 0, (size_t)slots * sizeof *slot);
    for (int64_t i = 0; i < v->count; i++) {
        if (v->lengths[i] == 0 || (hidden >= 0 && i >= hidden && i < hidden + 256)) continue;
        const uint8_t *bytes = v->pieces + i * v->width;
        uint64_t at = hash(bytes, v->lengths[i]);
        while (slot[at & (uint64_t)(slots - 1)] && !equal(v, slot[at & (uint64_t)(slots - 1)] - 1, bytes, v->lengths[i])) at++;
        if (!slot[at & (uint64_t)(slots - 1)]) slot[at & (uint64_t)(slots - 1)] = (int32_t)i + 1;
    }
}

int32_t vocabulary_find(const struct vocabulary *v, const int32_t *slot, int64_t slots, const uint8_t *bytes, int64_t length) {
    if (length == 0 || length > v->width) return -1;
    for (uint64_t at = hash(bytes, length);; at++) {
        int32_t piece = slot[at & (uint64_t)(slots - 1)] - 1;
        if (piece < 0 || equal(v, piece, bytes, length)) return piece;
    }
}
