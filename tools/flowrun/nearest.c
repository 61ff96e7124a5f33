/* SPDX-License-Identifier: Apache-2.0 */
/* Which name was meant: the edit distance with neighbours exchanged (Damerau 1964, restricted to one edit a place). */
#include "flowrun/table.h"

#include <string.h>

enum { LONGEST = 63 };

static size_t least(size_t a, size_t b) { return a < b ? a : b; }

/* Insertions, removals, substitutions and exchanges of neighbours that make `a` to `b`; LONGEST + 1 where one is too long. */
static size_t distance_of(const char *a, const char *b) {
    size_t n = strlen(a), m = strlen(b), rows[3][LONGEST + 1];
    if (n > LONGEST || m > LONGEST) return LONGEST + 1;
    for (size_t j = 0; j <= m; j++) rows[0][j] = j;
    for (size_t i = 1; i <= n; i++) {
        size_t *row = rows[i % 3], *above = rows[(i + 2) % 3], *before = rows[(i + 1) % 3];
        row[0] = i;
        for (size_t j = 1; j <= m; j++) {
            row[j] = least(above[j - 1] + (a[i - 1] != b[j - 1]), least(above[j], row[j - 1]) + 1);
            if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1]) row[j] = least(row[j], before[j - 2] + 1);
        }
    }
    return rows[n % 3][m];
}

void nearest_offer(struct nearest *nearest, const char *candidate) {
    size_t distance = distance_of(nearest->word, candidate), longer = strlen(candidate), length = strlen(nearest->word);
    if (length > longer) longer = length;
    size_t allowed = longer < 3 ? 0 : longer < 6 ? 1 + (longer == 5) : longer / 3;
    if (length > 2 && strncmp(nearest->word, candidate, length) == 0) distance = 1; /* its beginning */
    if (distance > allowed || (nearest->best && distance >= nearest->distance)) return;
    nearest->best = candidate;
    nearest->distance = distance;
}
