/* SPDX-License-Identifier: Apache-2.0 */
/*
 * series: labelled time series of several channels from a .ts file, as the UEA and UCR archives have them: lines with # or @ are the head;
 * then one case a line, channels separated by ':', values by ',', the label last. Each channel is standardised with the mean and deviation
 * that it has in the training file.
 */
#include "data.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { CHANNELS_MOST = 4096 };

struct series_attrs {
    const char *training;
    int64_t length;
    bool standardize;
};

struct series_case {
    int64_t start, length; /* in values: [length, channels] */
    int64_t label;
};

struct series {
    int64_t count, channels, length;
    struct series_case *cases;
    float *values;
};

/* A file while it is being read; malloc's. */
struct ts {
    const struct flow_source_open *open;
    const char *path;
    char *text;
    locale_t plain;
    int64_t count, channels, longest, total; /* total: steps of all cases */
    struct ts_case {
        char *at;
        const char *label;
        int64_t line, length;
    } * cases;
};

static const struct flow_port outputs[] = {
    {"x", "values, zeros behind a series' end", "B T C", FLOW_TYPE(F32), 0},
    {"mask", "true where the series is", "B T", FLOW_TYPE(BOOL), 0},
    {"length", "its steps", "B", FLOW_TYPE(I64), 0},
    {"label", "its class: labels are numbered in sorted order of their text, over the training file", "B", FLOW_TYPE(I64), 0},
};
static const struct flow_attr attrs[] = {
    FLOW_ATTR_PLAIN(struct series_attrs, training, "the file whose means, deviations and labels count; absent: this one", FLOW_ABSENT),
    FLOW_ATTR(struct series_attrs, length, "steps in a row, longer series are cut; absent: as the longest has in both files", FLOW_ABSENT,
              1, 1 << 24),
    FLOW_ATTR_PLAIN(struct series_attrs, standardize, "mean 0 and deviation 1 of each channel over the training file", "true"),
};

static void ts_free(struct ts *ts) {
    if (ts->plain != (locale_t)0) freelocale(ts->plain);
    free(ts->text), free(ts->cases);
}

/* Counts channels and steps; every channel of a case has as many steps. */
static int measure(struct ts *ts, struct ts_case *one, const char *end) {
    int64_t channels = 1, steps = 1;
    for (const char *c = one->at;; c++) {
        if (c == end || *c == ':') {
            if (channels > 1 && steps != one->length)
                return data_wrong(ts->open, FLOW_ERROR_FORMAT, "%s:%lld: channel %lld has %lld values, the first one has %lld", ts->path,
                                  (long long)one->line, (long long)channels, (long long)steps, (long long)one->length);
            one->length = steps;
            if (c == end) break;
            channels++, steps = 1;
        } else steps += *c == ',';
    }
    if (ts->channels && channels != ts->channels)
        return data_wrong(ts->open, FLOW_ERROR_FORMAT, "%s:%lld: %lld channels, the first case has %lld", ts->path, (long long)one->line,
                          (long long)channels, (long long)ts->channels);
    ts->channels = channels;
    if (one->length > ts->longest) ts->longest = one->length;
    ts->total += one->length;
    return channels <= CHANNELS_MOST ? FLOW_OK
                                     : data_wrong(ts->open, FLOW_ERROR_RANGE, "%s: more than %d channels", ts->path, CHANNELS_MOST);
}

static int ts_read(struct ts *ts, const struct flow_source_open *open, const char *path) {
    int64_t size, room = 1, line = 1;
    *ts = (struct ts){.open = open, .path = path};
    int status = data_read_whole(open, path, &ts->text, &size);
    if (status < 0) return status;
    if (memchr(ts->text, 0, (size_t)size)) /* it would end a line, and there would be more of them than were counted */
        return data_wrong(open, FLOW_ERROR_FORMAT, "%s holds a zero byte: it is no text", path);
    for (int64_t i = 0; i < size; i++) room += ts->text[i] == '\n';
    ts->cases = calloc((size_t)room, sizeof *ts->cases);
    ts->plain = newlocale(LC_ALL_MASK, "C", (locale_t)0);
    if (!ts->cases || ts->plain == (locale_t)0) return data_wrong(open, FLOW_ERROR_MEMORY, "out of memory");
    for (char *at = ts->text, *next; status == FLOW_OK && at < ts->text + size; at = next, line++) {
        const size_t length = strcspn(at, "\n");
        char *end = at + length;
        next = end + 1;
        while (end > at && (end[-1] == '\r' || end[-1] == ' ')) end--;
        *end = 0;
        if (end == at || *at == '#' || *at == '@') continue;
        struct ts_case *one = &ts->cases[ts->count++];
        char *label = strrchr(at, ':');
        *one = (struct ts_case){.at = at, .line = line};
        if (!label)
            return data_wrong(open, FLOW_ERROR_FORMAT, "%s:%lld: no label: a case is values, ':', its label", path, (long long)line);
        *label = 0, one->label = label + 1;
        status = measure(ts, one, label);
    }
    if (status == FLOW_OK && ts->count == 0) status = data_wrong(open, FLOW_ERROR_FORMAT, "%s holds no cases: an empty data set", path);
    return status;
}

/* The values of a case: to[step * channels + channel]. */
static int parse_case(const struct ts *ts, const struct ts_case *one, float *to) {
    char *at = one->at;
    for (int64_t c = 0; c < ts->channels; c++)
        for (int64_t i = 0; i < one->length; i++) {
            char *end;
            to[i * ts->channels + c] = strtof_l(at, &end, ts->plain);
            if (end == at || (*end && *end != ',' && *end != ':'))
                return data_wrong(ts->open, FLOW_ERROR_FORMAT, "%s:%lld: value %lld of channel %lld is '%.*s': expected a number", ts->path,
                                  (long long)one->line, (long long)i + 1, (long long)c + 1,
                                  (int)strcspn(at, ",:") > 20 ? 20 : (int)strcspn(at, ",:"), at);
            at = end + 1;
        }
    return FLOW_OK;
}

/* Means and deviations of each channel over all steps of the file. */
static int measure_channels(const struct ts *ts, double *mean, double *deviation) {
    float *values = malloc((size_t)(ts->longest * ts->channels) * sizeof *values);
    int status = values ? FLOW_OK : data_wrong(ts->open, FLOW_ERROR_MEMORY, "out of memory");
    for (int pass = 0; pass < 2; pass++) {
        for (int64_t k = 0; status == FLOW_OK && k < ts->count; k++) {
            status = parse_case(ts, &ts->cases[k], values);
            for (int64_t i = 0; status == FLOW_OK && i < ts->cases[k].length * ts->channels; i++) {
                const int64_t c = i % ts->channels;
                const double off = (double)values[i] - mean[c];
                if (pass) deviation[c] += off * off / (double)ts->total;
                else deviation[c] += (double)values[i] / (double)ts->total;
            }
        }
        for (int64_t c = 0; !pass && c < ts->channels; c++) mean[c] = deviation[c], deviation[c] = 0;
    }
    for (int64_t c = 0; c < ts->channels; c++) deviation[c] = deviation[c] > 0 ? sqrt(deviation[c]) : 1;
    free(values);
    return status;
}

/* Labels count as they stand in the training file. */
static int number_labels(struct flow_source_open *open, struct series *series, const struct ts *ts, const struct ts *training) {
    struct data_labels labels;
    const char **texts = data_memory(open, training->count, sizeof *texts);
    int64_t *numbers = data_memory(open, training->count, sizeof *numbers);
    if (!texts || !numbers) return FLOW_ERROR_MEMORY;
    for (int64_t k = 0; k < training->count; k++) texts[k] = training->cases[k].label;
    int status = data_labels_of(open, texts, training->count, &labels, numbers);
    for (int64_t k = 0; status == FLOW_OK && k < ts->count; k++) {
        int64_t label = 0;
        while (label < labels.count && strcmp(labels.at[label], ts->cases[k].label) != 0) label++;
        if (label == labels.count)
            status = data_wrong(open, FLOW_ERROR_RANGE, "%s:%lld: label '%.40s' does not come in %s", ts->path,
                                (long long)ts->cases[k].line, ts->cases[k].label, training->path);
        series->cases[k].label = label;
    }
    return status;
}

static int take_cases(struct flow_source_open *open, struct series *series, const struct ts *ts, const struct ts *training) {
    const struct series_attrs *a = open->attrs;
    double *mean = data_memory(open, ts->channels, sizeof *mean), *deviation = data_memory(open, ts->channels, sizeof *deviation);
    series->count = ts->count, series->channels = ts->channels;
    series->length = a->length != FLOW_INT_ABSENT ? a->length : ts->longest > training->longest ? ts->longest : training->longest;
    series->cases = data_memory(open, ts->count, sizeof *series->cases);
    series->values = data_memory(open, ts->total, (size_t)ts->channels * sizeof *series->values);
    if (!mean || !deviation || !series->cases || !series->values) return FLOW_ERROR_MEMORY;
    int status = a->standardize ? measure_channels(training, mean, deviation) : FLOW_OK;
    for (int64_t k = 0, at = 0; status == FLOW_OK && k < ts->count; k++) {
        float *to = series->values + at;
        series->cases[k] = (struct series_case){.start = at, .length = ts->cases[k].length};
        status = parse_case(ts, &ts->cases[k], to);
        for (int64_t i = 0; a->standardize && i < ts->cases[k].length * ts->channels; i++)
            to[i] = (float)(((double)to[i] - mean[i % ts->channels]) / deviation[i % ts->channels]);
        at += ts->cases[k].length * ts->channels;
    }
    return status < 0 ? status : number_labels(open, series, ts, training);
}

static int declare(struct flow_source_open *open, const struct series *series) {
    const int64_t shape[] = {series->length, series->channels};
    int status = data_output(open, "x", FLOW_F32, 2, shape);
    if (status == FLOW_OK) status = data_output(open, "mask", FLOW_BOOL, 1, shape);
    if (status == FLOW_OK) status = data_output(open, "length", FLOW_I64, 0, NULL);
    return status < 0 ? status : data_output(open, "label", FLOW_I64, 0, NULL);
}

static int open_source(struct flow_source_open *open) {
    const struct series_attrs *a = open->attrs;
    struct series *series = data_memory(open, 1, sizeof *series);
    struct ts ts, other = {0};
    if (!series) return FLOW_ERROR_MEMORY;
    open->state = series;
    int status = ts_read(&ts, open, open->path);
    if (status == FLOW_OK && a->training) status = ts_read(&other, open, a->training);
    if (status == FLOW_OK && a->training && other.channels != ts.channels)
        status = data_wrong(open, FLOW_ERROR_SHAPE, "%s has %lld channels, %s %lld", open->path, (long long)ts.channels, a->training,
                            (long long)other.channels);
    if (status == FLOW_OK) status = take_cases(open, series, &ts, a->training ? &other : &ts);
    ts_free(&ts), ts_free(&other);
    open->rows = series->count;
    return status < 0 ? status : declare(open, series);
}

static int fill_source(const struct flow_source_fill *fill) {
    const struct series *series = fill->state;
    const int64_t row = series->length * series->channels;
    for (int64_t i = 0; i < fill->count; i++) {
        const struct series_case *one = &series->cases[fill->rows[i]];
        const int64_t steps = one->length < series->length ? one->length : series->length, there = steps * series->channels;
        float *x = (float *)fill->out[0].data + i * row;
        uint8_t *mask = (uint8_t *)fill->out[1].data + i * series->length;
        memcpy(x, series->values + one->start, (size_t)there * sizeof *x);
        memset(x + there, 0, (size_t)(row - there) * sizeof *x);
        memset(mask, 1, (size_t)steps);
        memset(mask + steps, 0, (size_t)(series->length - steps));
        ((int64_t *)fill->out[2].data)[i] = steps;
        ((int64_t *)fill->out[3].data)[i] = one->label;
    }
    return FLOW_OK;
}

const struct flow_source data_series = {
    .size = sizeof data_series,
    .flags = FLOW_SOURCE_CONSTANT,
    .name = "series",
    .summary = "labelled time series from the UEA and UCR archives",
    .reference = "Bagnall et al., The UEA multivariate time series classification archive, 2018 (arXiv:1811.00075)",
    .example = "test: {source: series, path: BasicMotions_TEST.ts, with: {training: BasicMotions_TRAIN.ts, batch: 32}, "
               "feeds: {x: x, mask: mask, label: label}}",
    .outputs = FLOW_TABLE(outputs),
    .attrs = FLOW_TABLE(attrs),
    .attrs_size = sizeof(struct series_attrs),
    .open = open_source,
    .fill = fill_source,
};
