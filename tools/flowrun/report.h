/* SPDX-License-Identifier: Apache-2.0 */
/* Pages of runs: one self-contained HTML file each, nothing is loaded from elsewhere. */
#ifndef FLOWRUN_REPORT_H
#define FLOWRUN_REPORT_H

#include "flowrun/history.h"
#include "flowrun/json.h"

/* One run: `about` is its run.json, `drawing` its graph as SVG (either NULL: not known). 0, or an exit status after saying why. */
int report_run(flow_runtime *runtime, const char *path, const struct json *about, const struct history *history, const char *drawing);
/* Loss and validations as a picture for a README. */
int report_curve(flow_runtime *runtime, const char *path, const struct history *history);

struct report_one {
    const char *name; /* unique among those compared */
    const struct json *about;
    const struct history *history;
};
int report_compare(flow_runtime *runtime, const char *path, const struct report_one *runs, size_t count);

/* Settings, one by one: "train.update[0].with.lr" and its value as text. */
void report_settings(const struct json *about, void (*each)(void *context, const char *key, const char *value), void *context);
/* Is more of this metric better (accuracy), or less (loss)? By its name. */
bool report_higher(const char *metric);
/* "1:05 min" */
const char *report_clock(double seconds, char *text, size_t size);

#endif
