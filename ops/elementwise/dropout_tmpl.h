/* SPDX-License-Identifier: Apache-2.0 */
/* Elements dropped or scaled, for one type: REAL and DROP (the function's name) come from the including file. */

/* Words are compared as u32: where `least` reaches 2^32 all are dropped. */
static void DROP(const struct dropout_mask *mask, const REAL *x, REAL *y, int64_t begin, int64_t count) {
    const REAL scale = (REAL)mask->scale;
    const uint32_t most = (uint32_t)(mask->least - 1);
    const int some = mask->least != 0;
    uint32_t word[4 * BLOCKS];
    for (int64_t at = 0; at < count; at += 4 * BLOCKS, x += 4 * BLOCKS, y += 4 * BLOCKS) {
        int64_t n = count - at < 4 * BLOCKS ? count - at : 4 * BLOCKS;
        draw(mask, (uint64_t)(begin + at) / 4, word);
        if (mask->add) LOOP y[i] += (some & (word[i] <= most)) ? (REAL)0 : x[i] * scale;
        else LOOP y[i] = (some & (word[i] <= most)) ? (REAL)0 : x[i] * scale;
    }
}
