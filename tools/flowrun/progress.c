/* SPDX-License-Identifier: Apache-2.0 */
#include "flowrun/progress.h"

#include "flowrun/command.h"
#include "flowrun/report.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

static const double draw_every = 0.1, line_every = 10; /* seconds */
static const double forget = 0.97;                     /* of the shown loss, a step */

void progress_begin(struct progress *progress, bool quiet, const char *name) {
    const char *term = getenv("TERM");
    *progress = (struct progress){.quiet = quiet, .name = name ? name : ""};
    progress->terminal = !quiet && isatty(STDERR_FILENO) && !(term && strcmp(term, "dumb") == 0);
}

void progress_clear(struct progress *progress) {
    if (progress->shown) fputs("\r\033[K", stderr);
    progress->shown = false;
}

static int width_of_terminal(void) {
    struct winsize size;
    return ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 20 ? size.ws_col : 80;
}

/* Speed and what is left, from this stage's own steps. */
static void describe(const struct progress *progress, const struct flow_event *event, char *text, size_t size) {
    double seconds = event->seconds - progress->first_seconds;
    double made = (double)(event->step - progress->first_step), speed = seconds > 0 ? made / seconds : 0;
    int used = snprintf(text, size, "loss %.4g", progress->weight > 0 ? progress->loss / progress->weight : event->loss);
    if (isfinite(event->rate) && used > 0) used += snprintf(text + used, size - (size_t)used, "  rate %.3g", event->rate);
    if (speed > 0 && used > 0) used += snprintf(text + used, size - (size_t)used, "  %.3g steps/s", speed);
    if (speed > 0 && event->steps > event->step && used > 0) {
        char left[48];
        used += snprintf(text + used, size - (size_t)used, "  %s left",
                         report_clock((double)(event->steps - event->step) / speed, left, sizeof left));
    }
    if (event->seconds > 0 && used > 0) snprintf(text + used, size - (size_t)used, "  data %.0f%%", 100 * event->waited / event->seconds);
}

static void head(const struct progress *progress, const struct flow_event *event, char *text, size_t size) {
    char place[96] = "";
    if (event->stage_count > 1)
        snprintf(place, sizeof place, " %s (%lld/%lld)", event->stage, (long long)event->stage_number + 1, (long long)event->stage_count);
    snprintf(text, size, "%.40s%.60s", progress->name, place);
}

static void draw_bar(struct progress *progress, const struct flow_event *event) {
    char title[128], state[256], steps[64];
    head(progress, event, title, sizeof title);
    describe(progress, event, state, sizeof state);
    if (event->steps > 0) snprintf(steps, sizeof steps, "%lld/%lld", (long long)event->step, (long long)event->steps);
    else snprintf(steps, sizeof steps, "step %lld", (long long)event->step);
    int room = width_of_terminal() - (int)(strlen(title) + strlen(state) + strlen(steps)) - 8;
    int bar = event->steps > 0 && room >= 8 ? room < 32 ? room : 32 : 0;
    int full = bar ? (int)((double)bar * (double)event->step / (double)event->steps) : 0;
    bool colors = !getenv("NO_COLOR");
    fprintf(stderr, "\r\033[K%s  ", title);
    if (bar && colors) fputs("\033[34m", stderr);
    for (int i = 0; i < full; i++) fputs("\xe2\x94\x81", stderr); /* heavy line */
    if (bar && colors) fputs("\033[0m\033[2m", stderr);
    for (int i = full; i < bar; i++) fputs("\xe2\x94\x80", stderr); /* light line */
    if (bar && colors) fputs("\033[0m", stderr);
    int left = width_of_terminal() - (int)(strlen(title) + strlen(steps)) - (bar ? bar + 6 : 5);
    fprintf(stderr, "%s%s  %.*s", bar ? "  " : "", steps, left > 0 ? left : 0, state);
    fflush(stderr);
    progress->shown = true;
}

static void print_line(const struct progress *progress, const struct flow_event *event) {
    char title[128], state[256];
    head(progress, event, title, sizeof title);
    describe(progress, event, state, sizeof state);
    if (event->steps > 0) fprintf(stderr, "%s  step %lld/%lld  %s\n", title, (long long)event->step, (long long)event->steps, state);
    else fprintf(stderr, "%s  step %lld  %s\n", title, (long long)event->step, state);
}

void progress_event(struct progress *progress, const struct flow_event *event) {
    if (progress->quiet) return;
    double now = seconds_now();
    if (event->kind == FLOW_EVENT_STAGE) {
        progress->loss = progress->weight = 0;
        progress->first_seconds = event->seconds, progress->first_step = event->step;
        if (!progress->drawn_at) progress->drawn_at = now;
    }
    if (event->kind != FLOW_EVENT_STEP) return;
    if (isfinite(event->loss)) progress->loss = forget * progress->loss + event->loss, progress->weight = forget * progress->weight + 1;
    if (progress->terminal && now - progress->drawn_at >= draw_every) draw_bar(progress, event);
    else if (!progress->terminal && now - progress->drawn_at >= line_every) print_line(progress, event);
    else return;
    progress->drawn_at = now;
}
