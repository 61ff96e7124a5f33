/* SPDX-License-Identifier: Apache-2.0 */
/* Text handed to the caller, who frees it with flow_text_free. */
#ifndef FLOW_EMBED_TEXT_OUT_H
#define FLOW_EMBED_TEXT_OUT_H

#include "base/text.h"

#include <stdlib.h>
#include <string.h>

/* A copy from the C library's memory; NULL when there is none or the text is incomplete. */
static inline char *text_out(const struct text *text) {
    char *copy = text->failed ? NULL : malloc(text->length + 1);
    if (!copy) return NULL;
    if (text->length) memcpy(copy, text->at, text->length);
    copy[text->length] = 0;
    return copy;
}

#endif
