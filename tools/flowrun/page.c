/* SPDX-License-Identifier: Apache-2.0 */
/* The page of a run: one HTML file, no script or font from elsewhere. Recordings are drawn as waveforms and can be played; series over the
 * same time stand below; pairs of milliseconds are marked on all of them. */
#include "flowrun/page.h"

#include "flowrun/markup.h"
#include "flowrun/print.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { WIDTH = 1120, WAVE_HEIGHT = 170, SERIES_HEIGHT = 120, BAR_HEIGHT = 34, COLUMNS = 1120, PLAY_SECONDS = 120 };

struct page {
    struct markup out;
    double seconds;                  /* of the recording; 0: none */
    const struct flow_tensor *spans; /* pairs of milliseconds; NULL */
};

static const char style[] =
    ":root{--ink:#1c2733;--soft:#64748b;--line:#e2e8f0;--paper:#fff;--ground:#f6f8fb;--wave:#3b6fb6;--series:#0f9d76;--span:#f5a52433;--"
    "edge:#f5a524}"
    "@media(prefers-color-scheme:dark){:root{--ink:#e6edf3;--soft:#8b98a9;--line:#2b3644;--paper:#161d26;--ground:#0d131a;--wave:#7fb0f0;"
    "--series:#4fd1a5;--span:#f5a5242b}}"
    "body{margin:0;background:var(--ground);color:var(--ink);font:15px/1.5 system-ui,sans-serif}"
    "main{max-width:1160px;margin:0 auto;padding:32px 20px 60px}h1{font-size:26px;margin:0 0 4px}h2{font-size:15px;margin:0 0 "
    "6px;font-weight:600}"
    "p{margin:0 0 18px;color:var(--soft)}figure{background:var(--paper);border:1px solid var(--line);border-radius:10px;margin:0 0 "
    "14px;padding:12px 16px 8px}"
    "figcaption{display:flex;justify-content:space-between;color:var(--soft);font-size:13px;margin-bottom:4px}figcaption "
    "b{color:var(--ink)}"
    "svg{display:block;width:100%;height:auto}svg text{fill:var(--soft);font:11px "
    "system-ui,sans-serif}.grid{stroke:var(--line)}.wave{fill:var(--wave)}"
    ".curve{fill:none;stroke:var(--series);stroke-width:1.4}.under{fill:var(--series);opacity:.14}.span{fill:var(--span)}.edge{stroke:var(-"
    "-edge)}"
    ".head{stroke:var(--edge);stroke-width:1.5}.bar{fill:var(--edge);opacity:.85}table{border-collapse:collapse;width:100%;font-variant-"
    "numeric:tabular-nums}"
    "td,th{text-align:left;padding:4px 10px;border-bottom:1px solid var(--line)}th{color:var(--soft);font-weight:500;font-size:13px}"
    "pre{white-space:pre-wrap;font:16px/1.6 Georgia,serif;margin:4px 0 8px}audio{width:100%;margin:0 0 "
    "14px}dl{display:flex;flex-wrap:wrap;gap:8px 32px;margin:0}"
    "dt{color:var(--soft);font-size:13px}dd{margin:0;font-size:18px;font-variant-numeric:tabular-nums}";

static double span_edge(const struct flow_tensor *spans, int64_t row, int64_t side) {
    return 1e-3 * flow_tensor_real(spans, 2 * row + side);
}

static void put_spans(struct page *page, int height) {
    if (!page->spans || page->seconds <= 0) return;
    for (int64_t i = 0; i < page->spans->shape[0]; i++) {
        double from = span_edge(page->spans, i, 0) / page->seconds * WIDTH, to = span_edge(page->spans, i, 1) / page->seconds * WIDTH;
        markup_put(&page->out, "<rect class=span x=%.1f y=0 width=%.1f height=%d />", from, to > from ? to - from : 0, height);
        markup_put(&page->out, "<line class=edge x1=%.1f x2=%.1f y1=0 y2=%d /><line class=edge x1=%.1f x2=%.1f y1=0 y2=%d />", from, from,
                   height, to, to, height);
    }
}

/* Seconds along the bottom, at most a dozen ticks of a round length. */
static void put_time_axis(struct page *page, int height) {
    static const double lengths[] = {0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1800, 3600};
    double tick = lengths[0];
    for (size_t i = 0; i < sizeof lengths / sizeof *lengths && page->seconds / tick > 12; i++) tick = lengths[i];
    for (double t = 0; page->seconds > 0 && t <= page->seconds; t += tick) {
        double x = t / page->seconds * WIDTH;
        markup_put(&page->out, "<line class=grid x1=%.1f x2=%.1f y1=0 y2=%d /><text x=%.1f y=%d>%g s</text>", x, x, height, x + 3,
                   height + 13, t);
    }
}

static void begin_chart(struct page *page, const char *name, const struct flow_tensor *tensor, int height) {
    char type[160];
    markup_put(&page->out, "<figure><figcaption><b>");
    markup_text(&page->out, name);
    markup_put(&page->out, "</b><span>%s</span></figcaption><svg class=time viewBox='0 0 %d %d' preserveAspectRatio=none>",
               print_type(tensor, type, sizeof type), WIDTH, height + 18);
    put_spans(page, height);
    put_time_axis(page, height);
}

static void end_chart(struct page *page, int height) {
    markup_put(&page->out, "<line class=head x1=-9 x2=-9 y1=0 y2=%d /></svg></figure>\n", height);
}

/* Lowest and highest sample of each column: what a wave looks like from afar. */
static void put_wave(struct page *page, const char *name, const struct flow_tensor *wave) {
    int64_t count = flow_tensor_count(wave);
    double peak = 1e-9;
    for (int64_t i = 0; i < count; i++) {
        double value = fabs(flow_tensor_real(wave, i));
        if (isfinite(value) && value > peak) peak = value;
    }
    begin_chart(page, name, wave, WAVE_HEIGHT);
    markup_put(&page->out, "<path class=wave d='");
    for (int64_t column = 0; column < COLUMNS; column++) {
        double low = 0, high = 0;
        for (int64_t i = column * count / COLUMNS; i < (column + 1) * count / COLUMNS; i++) {
            double value = flow_tensor_real(wave, i);
            if (value < low) low = value;
            if (value > high) high = value;
        }
        double middle = WAVE_HEIGHT / 2.0, scale = 0.94 * middle / peak;
        markup_put(&page->out, "M%lld %.1fh.9V%.1fh-.9z", (long long)column, middle - high * scale, middle - low * scale + 0.6);
    }
    markup_put(&page->out, "'/>");
    end_chart(page, WAVE_HEIGHT);
}

/* A line through the means of columns (or the points themselves where there are few). */
static void put_series(struct page *page, const char *name, const struct flow_tensor *series) {
    int64_t count = flow_tensor_count(series), points = count < COLUMNS ? count : COLUMNS;
    double low = INFINITY, high = -INFINITY;
    for (int64_t i = 0; i < count; i++) {
        double value = flow_tensor_real(series, i);
        if (!isfinite(value)) continue;
        low = value < low ? value : low, high = value > high ? value : high;
    }
    if (low >= 0 && high <= 1) low = 0, high = 1;
    if (!(high > low)) low -= 0.5, high = low + 1;
    begin_chart(page, name, series, SERIES_HEIGHT);
    markup_put(&page->out, "<text x=4 y=12>%.3g</text><text x=4 y=%d>%.3g</text>", high, SERIES_HEIGHT - 4, low);
    for (int pass = 0; pass < 2; pass++) {
        markup_put(&page->out, "<path class=%s d='", pass ? "curve" : "under");
        if (!pass) markup_put(&page->out, "M0 %dL", SERIES_HEIGHT);
        for (int64_t p = 0; p < points; p++) {
            double sum = 0;
            int64_t from = p * count / points, to = (p + 1) * count / points;
            for (int64_t i = from; i < to; i++) sum += flow_tensor_real(series, i);
            double value = sum / (double)(to - from);
            if (!isfinite(value)) value = low;
            markup_put(&page->out, "%s%.1f %.1f", p || !pass ? " " : "M", ((double)p + 0.5) / (double)points * WIDTH,
                       SERIES_HEIGHT * (high - value) / (high - low));
        }
        markup_put(&page->out, pass ? "'/>" : " %d %dz'/>", WIDTH, SERIES_HEIGHT);
    }
    end_chart(page, SERIES_HEIGHT);
}

static void put_span_table(struct page *page, const char *name) {
    const struct flow_tensor *spans = page->spans;
    begin_chart(page, name, spans, BAR_HEIGHT);
    double total = 0;
    for (int64_t i = 0; i < spans->shape[0]; i++) {
        double from = span_edge(spans, i, 0), to = span_edge(spans, i, 1);
        total += to - from;
        markup_put(&page->out, "<rect class=bar rx=4 x=%.1f y=6 width=%.1f height=%d />", from / page->seconds * WIDTH,
                   (to - from) / page->seconds * WIDTH, BAR_HEIGHT - 12);
    }
    end_chart(page, BAR_HEIGHT);
    markup_put(
        &page->out,
        "<figure><figcaption><b>%lld segments</b><span>%.2f s of %.2f s</span></figcaption><table><tr><th>#<th>from<th>to<th>length</tr>",
        (long long)spans->shape[0], total, page->seconds);
    for (int64_t i = 0; i < spans->shape[0]; i++) {
        double from = span_edge(spans, i, 0), to = span_edge(spans, i, 1);
        markup_put(&page->out, "<tr data-at=%.3f><td>%lld<td>%.2f s<td>%.2f s<td>%.2f s</tr>", from, (long long)i + 1, from, to, to - from);
    }
    markup_put(&page->out, "</table></figure>\n");
}

static void put_words(struct page *page, const char *name, const struct flow_tensor *text) {
    markup_put(&page->out, "<figure><figcaption><b>");
    markup_text(&page->out, name);
    markup_put(&page->out, "</b></figcaption><pre>");
    markup_escaped(&page->out, text->data, (size_t)text->shape[0]);
    markup_put(&page->out, "</pre></figure>\n");
}

static void put_values(struct page *page, const char *name, const struct flow_tensor *tensor) {
    char type[160];
    int64_t count = flow_tensor_count(tensor);
    double low = INFINITY, high = -INFINITY;
    for (int64_t i = 0; i < count; i++) {
        double value = flow_tensor_real(tensor, i);
        if (isfinite(value)) low = value < low ? value : low, high = value > high ? value : high;
    }
    markup_put(&page->out, "<figure><figcaption><b>");
    markup_text(&page->out, name);
    markup_put(&page->out, "</b><span>%s", print_type(tensor, type, sizeof type));
    if (low <= high) markup_put(&page->out, ", %.5g .. %.5g", low, high);
    markup_put(&page->out, "</span></figcaption></figure>\n");
}

/* The recording as 16-bit wav inside the page. */
static void put_audio(struct page *page, const struct flow_tensor *wave, double rate) {
    int64_t count = flow_tensor_count(wave);
    if (count <= 0 || (double)count / rate > PLAY_SECONDS) return;
    size_t data = 2 * (size_t)count;
    unsigned char *bytes = malloc(44 + data);
    if (!bytes) {
        page->out.failed = true;
        return;
    }
    uint32_t rate32 = (uint32_t)rate, sizes[] = {(uint32_t)(36 + data), 16, 0x00010001, rate32, 2 * rate32, 0x00100002, (uint32_t)data};
    memcpy(bytes, "RIFF....WAVEfmt ", 16), memcpy(bytes + 36, "data", 4);
    memcpy(bytes + 4, &sizes[0], 4), memcpy(bytes + 16, &sizes[1], 20), memcpy(bytes + 40, &sizes[6], 4);
    for (int64_t i = 0; i < count; i++) {
        double value = flow_tensor_real(wave, i);
        int sample = (int)lrint(32767 * (value > 1 ? 1 : value < -1 ? -1 : isnan(value) ? 0 : value));
        bytes[44 + 2 * i] = (unsigned char)(sample & 255), bytes[45 + 2 * i] = (unsigned char)(sample >> 8 & 255);
    }
    markup_put(&page->out, "<audio controls src='data:audio/wav;base64,");
    markup_base64(&page->out, bytes, 44 + data);
    markup_put(&page->out, "'></audio>\n");
    free(bytes);
}

/* The playing position on every chart; a click on a chart or a row goes there. */
static void put_script(struct page *page) {
    static const char script[] =
        "<script>const a=document.querySelector('audio'),h=document.querySelectorAll('.head');"
        "if(a){const f=()=>{const "
        "x=a.currentTime/T*W;h.forEach(l=>{l.setAttribute('x1',x);l.setAttribute('x2',x)});requestAnimationFrame(f)};f();"
        "document.querySelectorAll('svg.time').forEach(s=>s.onclick=e=>{const "
        "r=s.getBoundingClientRect();a.currentTime=(e.clientX-r.left)/r.width*T;a.play()});"
        "document.querySelectorAll('[data-at]').forEach(r=>{r.style.cursor='pointer';r.onclick=()=>{a.currentTime=r.dataset.at;a.play()}})}"
        "</script>\n";
    markup_put(&page->out, "<script>const T=%.6f,W=%d</script>", page->seconds, WIDTH);
    markup_bytes(&page->out, script, strlen(script));
}

static bool is_series(const struct flow_tensor *tensor) {
    bool real = tensor->dtype == FLOW_F32 || tensor->dtype == FLOW_F64;
    int64_t count = flow_tensor_count(tensor);
    return real && count > 8 && tensor->rank >= 1 && tensor->shape[tensor->rank - 1] == count;
}

static bool is_spans(const struct flow_tensor *tensor) {
    return (tensor->dtype == FLOW_I64 || tensor->dtype == FLOW_I32) && tensor->rank == 2 && tensor->shape[1] == 2;
}

static void put_output(struct page *page, const char *name, const struct flow_tensor *tensor) {
    if (tensor == page->spans && page->seconds > 0) put_span_table(page, name);
    else if (tensor->dtype == FLOW_U8 && tensor->rank == 1) put_words(page, name, tensor);
    else if (is_series(tensor) && page->seconds > 0 && flow_tensor_count(tensor) > 8 * COLUMNS) put_wave(page, name, tensor);
    else if (is_series(tensor)) put_series(page, name, tensor);
    else put_values(page, name, tensor);
}

static void put_figures(struct page *page, const struct drive *drive) {
    struct flow_memory memory = flow_session_memory(drive->session);
    markup_put(&page->out, "<figure><dl><div><dt>time</dt><dd>%.1f ms</dd></div><div><dt>runs</dt><dd>%lld</dd></div>",
               1e3 * drive->seconds, (long long)drive->runs);
    if (page->seconds > 0)
        markup_put(&page->out, "<div><dt>faster than real time</dt><dd>%.0f x</dd></div>",
                   page->seconds / (drive->seconds > 0 ? drive->seconds : 1e-9));
    markup_put(&page->out, "<div><dt>parameters</dt><dd>%.2f MiB</dd></div><div><dt>planned memory</dt><dd>%.2f MiB</dd></div>",
               (double)memory.params / 1048576, (double)memory.arena / 1048576);
    markup_put(&page->out, "<div><dt>resident</dt><dd>%.1f MiB</dd></div></dl></figure>\n", (double)peak_memory() / 1048576);
}

int page_write(const char *path, const struct drive *drive, const struct flow_tensor *const *outputs, size_t count) {
    struct page page = {0};
    const char *name = flow_graph_name(drive->graph), *doc = flow_graph_doc(drive->graph);
    for (size_t i = 0; i < drive->sources.count; i++) {
        const struct source *source = &drive->sources.at[i];
        if (source->rate > 0 && source->tensor.rank > 0)
            page.seconds = (double)source->tensor.shape[source->tensor.rank - 1] / source->rate;
    }
    for (size_t i = 0; i < count; i++)
        if (outputs[i] && is_spans(outputs[i]) && !page.spans) page.spans = outputs[i];
    markup_put(&page.out, "<!doctype html><html lang=en><meta charset=utf-8><meta name=viewport content='width=device-width'><title>");
    markup_text(&page.out, name ? name : drive->command->graph);
    markup_put(&page.out, "</title><style>");
    markup_bytes(&page.out, style, strlen(style));
    markup_put(&page.out, "</style><main><h1>");
    markup_text(&page.out, name ? name : drive->command->graph);
    markup_put(&page.out, "</h1><p>");
    markup_text(&page.out, doc ? doc : "");
    markup_put(&page.out, "</p>\n");
    for (size_t i = 0; i < drive->sources.count; i++) {
        const struct source *source = &drive->sources.at[i];
        if (!source->name || source->tensor.rank < 1 || source->rate <= 0) continue;
        put_wave(&page, source->name, &source->tensor);
        put_audio(&page, &source->tensor, source->rate);
    }
    for (size_t i = 0; i < count; i++)
        if (outputs[i]) put_output(&page, flow_graph_output(drive->graph, i).name, outputs[i]);
    put_figures(&page, drive);
    put_script(&page);
    markup_put(&page.out, "</main></html>\n");
    return markup_write(&page.out, drive->runtime, path);
}
