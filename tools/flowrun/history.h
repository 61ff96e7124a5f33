/* SPDX-License-Identifier: Apache-2.0 */
/* What a training was: its curves, in constant memory however long it lasts, and one line of JSON for each event. */
#ifndef FLOWRUN_HISTORY_H
#define FLOWRUN_HISTORY_H

#include "flowrun/markup.h"

#include <flow/flow.h>

#define HISTORY_FACTOR "learning rate factor" /* chart of what the schedule multiplies learning rates by */
enum { SERIES_POINTS = 2048, HISTORY_STAGES = 256, HISTORY_LINE = 1 << 16 };

struct point {
    double step, seconds, value;
};

/* One curve. When it is full, neighbours are merged and each further point is the mean of twice as many values. */
struct series {
    char chart[64], name[96]; /* curves of one chart share its axes: "loss": "training", "valid" */
    bool valid;
    struct point *points; /* SERIES_POINTS */
    size_t count;
    int64_t share, pending; /* values to a point; values that the next one has so far */
    struct point sum;
    double last, low, high; /* NaN: none yet */
    double low_step, high_step;
};

struct history {
    struct series *series;
    size_t count;
    struct {
        double step, seconds;
        char name[96];
    } stages[HISTORY_STAGES];
    size_t stage_count;
    int64_t stages_seen;
    int64_t total, step, steps, stage_number, stage_total; /* of the last event */
    double seconds, waited, rows;                          /* in all */
    int64_t damaged;                                       /* lines that could not be read */
    bool failed;                                           /* memory */
};

void history_free(struct history *history);
/* Takes in a step or a validation; `seconds`, `waited` and `total` count from the run's first start. */
void history_take(struct history *history, const struct flow_event *event);
const struct series *history_find(const struct history *history, const char *chart, bool valid); /* the first; NULL */

/* Mean of the last twentieth: what a noisy curve has come to. */
double history_recent(const struct series *series);

/* An event as one line of JSON, without the newline. `mean_loss`: over the steps since the last line; NaN: left out. */
void history_line(struct markup *out, const struct flow_event *event, double mean_loss);
/* A list of points as JavaScript: {chart, name, kind, x, t, y}. */
void history_script(struct markup *out, const struct history *history, const char *name);

/* Lines of a metrics.jsonl up to a step; what is torn or is not such a line is counted and left out. `each`: those taken, NULL; its
 * non-zero result ends it. false: there is no such file. */
bool history_read(struct history *history, const char *path, int64_t last, void (*each)(void *context, const char *line), void *context);

#endif
