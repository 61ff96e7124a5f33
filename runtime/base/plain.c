/* SPDX-License-Identifier: Apache-2.0 */
#include "base/plain.h"

#include <locale.h>

/* The C locale of every category is the C library's own object: nothing is allocated, and there is nothing to free. */
void *plain_begin(void) {
    locale_t plain = newlocale(LC_ALL_MASK, "C", (locale_t)0);
    return plain ? uselocale(plain) : (locale_t)0;
}

void plain_end(void *before) {
    if (before) uselocale(before);
}
