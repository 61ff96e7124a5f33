/* SPDX-License-Identifier: Apache-2.0 */
/* curve.svg: training loss and the validations of it, as one picture. */
#include "flowrun/report.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

enum { WIDTH = 960, HEIGHT = 360, LEFT = 56, RIGHT = 16, TOP = 14, BOTTOM = 44, POINTS = 120 };

struct frame {
    double low, high, far;
};

static double x_of(const struct frame *frame, double step) { return LEFT + step / frame->far * (WIDTH - LEFT - RIGHT); }

static double y_of(const struct frame *frame, double value) {
    double clamped = value > frame->high ? frame->high : value < frame->low ? frame->low : value;
    return TOP + (frame->high - clamped) / (frame->high - frame->low) * (HEIGHT - TOP - BOTTOM);
}

static double round_tick(double range, int most) {
    double power = pow(10, floor(log10(range / most)));
    static const double parts[] = {1, 2, 2.5, 5, 10};
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++)
        if (range / (parts[i] * power) <= most) return parts[i] * power;
    return 10 * power;
}

static const char style[] =
    "<style>text{font:12px system-ui,sans-serif;fill:#5b6b7f}.g{stroke:#e2e8f0}path{fill:none;stroke-width:1.8;stroke-linejoin:round}"
    ".t{stroke:#0072b2}.v0{stroke:#d55e00}.v1{stroke:#009e73}.v2{stroke:#cc79a7}.b{fill:#fff}"
    "@media(prefers-color-scheme:dark){.b{fill:#161d26}.g{stroke:#2b3644}text{fill:#93a1b3}.t{stroke:#5aa9e6}.v0{stroke:#ff8a4c}"
    ".v1{stroke:#3cc79a}.v2{stroke:#e7a3c8}}</style>";

static void put_axes(struct markup *out, const struct frame *frame) {
    double tick = round_tick(frame->high - frame->low, 6);
    for (int i = 0; i < 12; i++) {
        double value = (ceil(frame->low / tick) + i) * tick;
        if (value > frame->high) break;
        markup_put(out, "<line class=\"g\" x1=\"%d\" x2=\"%d\" y1=\"%.1f\" y2=\"%.1f\"/>", LEFT, WIDTH - RIGHT, y_of(frame, value),
                   y_of(frame, value));
        markup_put(out, "<text x=\"%d\" y=\"%.1f\" text-anchor=\"end\">%.4g</text>", LEFT - 8, y_of(frame, value) + 4, value);
    }
    tick = round_tick(frame->far, 8);
    tick = tick < 1 ? 1 : tick;
    for (int i = 0; i < 12 && i * tick <= frame->far; i++)
        markup_put(out, "<text x=\"%.1f\" y=\"%d\" text-anchor=\"middle\">%.0f</text>", x_of(frame, i * tick), HEIGHT - BOTTOM + 18,
                   i * tick);
}

/* At most POINTS points, each the mean of its neighbours: noise would only hide the course. */
static void put_line(struct markup *out, const struct frame *frame, const struct series *series, const char *class) {
    size_t points = series->count < POINTS ? series->count : POINTS;
    markup_put(out, "<path class=\"%s\" d=\"", class);
    for (size_t p = 0; p < points; p++) {
        size_t from = p * series->count / points, to = (p + 1) * series->count / points;
        double sum = 0;
        for (size_t i = from; i < to; i++) sum += series->points[i].value;
        markup_put(out, "%s%.1f %.1f", p ? "L" : "M", x_of(frame, series->points[to - 1].step), y_of(frame, sum / (double)(to - from)));
    }
    markup_put(out, "\"/>");
    for (size_t i = 0; series->valid && series->count <= 40 && i < series->count; i++)
        markup_put(out, "<circle class=\"%s\" cx=\"%.1f\" cy=\"%.1f\" r=\"2\" stroke-width=\"2\" fill=\"none\"/>", class,
                   x_of(frame, series->points[i].step), y_of(frame, series->points[i].value));
}

static bool shown(const struct series *series) { return strcmp(series->chart, "loss") == 0 && series->count; }

static bool find_frame(const struct history *history, struct frame *frame) {
    *frame = (struct frame){INFINITY, -INFINITY, 1};
    for (size_t i = 0; i < history->count; i++) {
        const struct series *series = &history->series[i];
        for (size_t p = 0; shown(series) && p < series->count; p++) {
            double value = series->points[p].value;
            if (!isfinite(value)) continue;
            frame->low = fmin(frame->low, value), frame->high = fmax(frame->high, value);
            frame->far = fmax(frame->far, series->points[p].step);
        }
    }
    if (!(frame->low <= frame->high)) return false;
    double room = (frame->high - frame->low) * 0.05;
    if (room <= 0) room = fabs(frame->high) * 0.1 + 1e-9;
    if (frame->low > 0 && frame->low < 8 * room) frame->low = 0;
    else if (frame->low != 0) frame->low -= room;
    frame->high += room;
    return true;
}

int report_curve(flow_runtime *runtime, const char *path, const struct history *history) {
    struct markup out = {0};
    struct frame frame;
    markup_put(&out, "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 %d %d\" width=\"%d\" height=\"%d\">", WIDTH, HEIGHT, WIDTH,
               HEIGHT);
    markup_bytes(&out, style, strlen(style));
    markup_put(&out, "<rect class=\"b\" width=\"%d\" height=\"%d\"/>", WIDTH, HEIGHT);
    if (find_frame(history, &frame)) {
        put_axes(&out, &frame);
        int valid = 0, x = LEFT;
        for (size_t i = 0; i < history->count; i++) {
            const struct series *series = &history->series[i];
            char class[4] = "t";
            if (!shown(series)) continue;
            if (series->valid) snprintf(class, sizeof class, "v%d", valid++ % 3);
            put_line(&out, &frame, series, class);
            markup_put(&out, "<path class=\"%s\" d=\"M%d %dh20\"/><text x=\"%d\" y=\"%d\">", class, x, HEIGHT - 8, x + 26, HEIGHT - 4);
            markup_text(&out, series->name);
            markup_put(&out, "</text>");
            x += 26 + 24 + 8 * (int)strlen(series->name);
        }
        markup_put(&out, "<text x=\"%d\" y=\"%d\" text-anchor=\"end\">loss by step</text>", WIDTH - RIGHT, HEIGHT - 4);
    }
    markup_put(&out, "</svg>\n");
    return markup_write(&out, runtime, path);
}
