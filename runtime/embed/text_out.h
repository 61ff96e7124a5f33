/* SPDX-License-Identifier: Apache-2.0 */
/* Text handed to the caller, who frees it with flow_text_free. */
#ifndef FLOW_EMBED_TEXT_OUT_H
#define FLOW_EMBED_TEXT_OUT_H

#include "base/text.h"

/* A copy, from the same allocator; NULL when there is no memory or the text is incomplete. */
char *text_out(const struct text *text);

#endif
