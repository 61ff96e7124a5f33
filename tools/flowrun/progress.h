/* SPDX-License-Identifier: Apache-2.0 */
/* What a training shows on standard error while it runs: one line that is drawn over on a terminal, else a line every so often. */
#ifndef FLOWRUN_PROGRESS_H
#define FLOWRUN_PROGRESS_H

#include <flow/flow.h>

struct progress {
    const char *name;
    bool quiet, terminal;
    bool shown;           /* a line is on the terminal */
    double drawn_at;      /* seconds_now() of the last line */
    double loss, weight;  /* exponential mean and its weight */
    double first_seconds; /* of the stage, at its first event */
    int64_t first_step, first_total;
    double waited_before, rate_seconds;
};

void progress_begin(struct progress *progress, bool quiet, const char *name);
void progress_event(struct progress *progress, const struct flow_event *event);
void progress_clear(struct progress *progress); /* the terminal's line is free for others */

#endif
