/* SPDX-License-Identifier: Apache-2.0 */
/*
 * babi: questions about short stories. Each line is `number sentence` or `number question TAB answer TAB supporting lines`; the number 1
 * begins a new story. A row is one question: what its story had said before it (the newest sentence first, so that a place is an age), the
 * question and the answer. Words are runs of letters, digits and signs other than . , ? ! ; :, in small letters, numbered from 1 in sorted
 * order over all files together; 0 is padding.
 */
#include "data.h"

#include <stdlib.h>
#include <string.h>

/* Added to the scores of empty places: their exponential is 0. */
static const float EMPTY = -1e4F;

struct babi_attrs {
    const char *vocabulary;
    int64_t sentences, words, count;
};

/* Words from `first` on; of a sentence or a question. */
struct span {
    int64_t first, count;
};

struct question {
    struct span words;
    int64_t answer;     /* a word */
    int64_t story, end; /* sentences before it: story .. end-1 */
};

struct babi {
    int64_t question_count, width; /* width: words in a row */
    struct question *questions;
    struct span *sentences;
    int64_t *numbers; /* by word */
};

static const struct flow_port outputs[] = {
    {"story", "words of the sentences before the question, the newest first, zeros behind them", "B sentences W", FLOW_TYPE(I64), 0},
    {"question", "words of the question, zeros behind them", "B W", FLOW_TYPE(I64), 0},
    {"answer", "the word that answers it", "B", FLOW_TYPE(I64), 0},
    {"bias", "0 where a place of the story holds a sentence, -10000 where it is empty: to be added before a softmax", "B sentences",
     FLOW_TYPE(F32), 0},
};
static const struct flow_attr attrs[] = {
    FLOW_ATTR_PLAIN(struct babi_attrs, vocabulary,
                    "further files whose words are numbered together with these, '|' between them: the test's for the training, and the "
                    "other way round",
                    FLOW_ABSENT),
    FLOW_ATTR(struct babi_attrs, sentences, "most sentences before a question, the newest", "50", 1, 1 << 20),
    FLOW_ATTR(struct babi_attrs, words, "words in a row; absent: as many as the longest sentence of all files", FLOW_ABSENT, 1, 1 << 20),
    FLOW_ATTR(struct babi_attrs, count, "rows of the embedding that the numbers are for: an error where there are more words", FLOW_ABSENT,
              1, 1LL << 40),
};

/* What has been read; malloc's. Words of the file itself come first. */
struct reading {
    const struct flow_source_open *open;
    const char *path; /* of the file that is being read */
    char *texts[17];  /* of all files */
    int64_t text_count;
    const char **words; /* zero-terminated, in texts */
    int64_t word_count, word_room;
    struct span *sentences;
    struct question *questions;
    int64_t sentence_count, question_count, line_room;
    int64_t story, line; /* first sentence of the story; from 1 */
    int64_t longest;
};

static void reading_free(struct reading *r) {
    for (int64_t i = 0; i < r->text_count; i++) free(r->texts[i]);
    free(r->words), free(r->sentences), free(r->questions);
}

static int no_memory(const struct reading *r) { return data_wrong(r->open, FLOW_ERROR_MEMORY, "out of memory"); }

/* Letters of other alphabets are bytes from 0x80 on. */
static bool is_word(char c) { return (unsigned char)c > ' ' && c != 0x7F && !strchr(".,?!;:", c); }

static void make_small(char *at, const char *end) {
    for (; at < end; at++)
        if (*at >= 'A' && *at <= 'Z') *at = (char)(*at - 'A' + 'a');
}

static int add_word(struct reading *r, char *at, char *end) {
    if (r->word_count == r->word_room) {
        const int64_t room = r->word_room ? 2 * r->word_room : 1024;
        const char **words = realloc(r->words, (size_t)room * sizeof *words);
        if (!words) return no_memory(r);
        r->words = words, r->word_room = room;
    }
    make_small(at, end);
    *end = 0;
    r->words[r->word_count++] = at;
    return FLOW_OK;
}

/* The words of [at, end); the byte at `end` is no word's, and may be overwritten. */
static int add_words(struct reading *r, char *at, char *end, struct span *span) {
    int status = FLOW_OK;
    span->first = r->word_count;
    while (status == FLOW_OK) {
        while (at < end && !is_word(*at)) at++;
        if (at == end) break;
        char *start = at;
        while (at < end && is_word(*at)) at++;
        status = add_word(r, start, at);
        if (at < end) at++;
    }
    span->count = r->word_count - span->first;
    if (span->count > r->longest) r->longest = span->count;
    if (status == FLOW_OK && span->count == 0)
        return data_wrong(r->open, FLOW_ERROR_FORMAT, "%s:%lld: no words after the number", r->path, (long long)r->line);
    return status;
}

static int add_question(struct reading *r, char *at, char *tab, char *end) {
    struct question *q = &r->questions[r->question_count++];
    *q = (struct question){.story = r->story, .end = r->sentence_count};
    int status = add_words(r, at, tab, &q->words);
    if (status < 0) return status;
    at = tab + 1;
    while (at < end && *at == ' ') at++;
    char *stop = at;
    while (stop < end && *stop != '\t') stop++;
    while (stop > at && (stop[-1] == ' ' || stop[-1] == '\r')) stop--;
    if (stop == at) return data_wrong(r->open, FLOW_ERROR_FORMAT, "%s:%lld: no answer after the question", r->path, (long long)r->line);
    q->answer = r->word_count;
    return add_word(r, at, stop);
}

/* [at, end), and one byte behind it. */
static int read_line(struct reading *r, char *at, char *end) {
    char *start = at;
    while (at < end && *at >= '0' && *at <= '9') at++;
    if (at == start || at == end || *at != ' ')
        return data_wrong(r->open, FLOW_ERROR_FORMAT, "%s:%lld: expected `number sentence` or `number question TAB answer`", r->path,
                          (long long)r->line);
    if (at - start == 1 && *start == '1') r->story = r->sentence_count;
    char *tab = memchr(at, '\t', (size_t)(end - at));
    if (tab) return add_question(r, at, tab, end);
    return add_words(r, at, end, &r->sentences[r->sentence_count++]);
}

static int make_room(struct reading *r, const char *text, int64_t size) {
    r->line_room += 1;
    for (int64_t i = 0; i < size; i++) r->line_room += text[i] == '\n';
    struct span *sentences = realloc(r->sentences, (size_t)r->line_room * sizeof *sentences);
    if (sentences) r->sentences = sentences;
    struct question *questions = realloc(r->questions, (size_t)r->line_room * sizeof *questions);
    if (questions) r->questions = questions;
    return sentences && questions ? FLOW_OK : no_memory(r);
}

static int read_file(struct reading *r, const char *path) {
    char *text;
    int64_t size;
    int status = data_read_whole(r->open, path, &text, &size);
    if (status < 0) return status;
    r->texts[r->text_count++] = text, r->path = path, r->line = 0, r->story = r->sentence_count;
    status = make_room(r, text, size);
    for (char *at = text, *end; status == FLOW_OK && at < text + size; at = end + 1) {
        end = memchr(at, '\n', (size_t)(text + size - at));
        if (!end) end = text + size;
        r->line++;
        const bool empty = end == at || (end == at + 1 && *at == '\r');
        if (!empty) status = read_line(r, at, end);
    }
    return status;
}

/* The other files: their words count, their questions do not. */
static int read_others(struct reading *r, const char *list) {
    const int64_t sentences = r->sentence_count, questions = r->question_count;
    int status = FLOW_OK;
    for (const char *at = list; status == FLOW_OK && at && *at;) {
        const size_t length = strcspn(at, "|");
        if (r->text_count == (int64_t)(sizeof r->texts / sizeof *r->texts))
            return data_wrong(r->open, FLOW_ERROR_RANGE, "`vocabulary` has more than %lld files", (long long)r->text_count - 1);
        const char *path = data_copy(r->open, at, length);
        status = path ? read_file(r, path) : FLOW_ERROR_MEMORY;
        at += length, at += *at == '|';
    }
    r->sentence_count = sentences, r->question_count = questions;
    return status;
}

/* What has been read becomes the source's, words as their numbers. */
static int keep(const struct reading *r, struct babi *babi) {
    const struct babi_attrs *a = r->open->attrs;
    struct data_labels labels;
    babi->question_count = r->question_count;
    babi->questions = data_memory(r->open, r->question_count, sizeof *babi->questions);
    babi->sentences = data_memory(r->open, r->sentence_count, sizeof *babi->sentences);
    babi->numbers = data_memory(r->open, r->word_count, sizeof *babi->numbers);
    if (!babi->questions || !babi->sentences || !babi->numbers) return FLOW_ERROR_MEMORY;
    if (r->question_count) memcpy(babi->questions, r->questions, (size_t)r->question_count * sizeof *babi->questions);
    if (r->sentence_count) memcpy(babi->sentences, r->sentences, (size_t)r->sentence_count * sizeof *babi->sentences);
    int status = data_labels_of(r->open, r->words, r->word_count, &labels, babi->numbers);
    if (status < 0) return status;
    for (int64_t i = 0; i < r->word_count; i++) babi->numbers[i]++;
    if (a->count != FLOW_INT_ABSENT && labels.count >= a->count)
        return data_wrong(r->open, FLOW_ERROR_RANGE, "%lld different words and the padding need `count` to be %lld, and it is %lld",
                          (long long)labels.count, (long long)labels.count + 1, (long long)a->count);
    babi->width = a->words == FLOW_INT_ABSENT ? r->longest : a->words;
    if (r->longest > babi->width)
        return data_wrong(r->open, FLOW_ERROR_RANGE, "the longest sentence has %lld words, and `words` is %lld", (long long)r->longest,
                          (long long)babi->width);
    return FLOW_OK;
}

static int open_source(struct flow_source_open *open) {
    const struct babi_attrs *a = open->attrs;
    struct babi *babi = data_memory(open, 1, sizeof *babi);
    struct reading r = {.open = open};
    if (!babi) return FLOW_ERROR_MEMORY;
    open->state = babi;
    int status = read_file(&r, open->path);
    if (status == FLOW_OK) status = read_others(&r, a->vocabulary);
    if (status == FLOW_OK) status = keep(&r, babi);
    reading_free(&r);
    if (status < 0) return status;
    open->rows = babi->question_count;
    status = data_output(open, "story", FLOW_I64, 2, (const int64_t[]){a->sentences, babi->width});
    if (status == FLOW_OK) status = data_output(open, "question", FLOW_I64, 1, &babi->width);
    if (status == FLOW_OK) status = data_output(open, "answer", FLOW_I64, 0, NULL);
    if (status == FLOW_OK) status = data_output(open, "bias", FLOW_F32, 1, &a->sentences);
    return status;
}

static void put_words(const struct babi *babi, struct span span, int64_t *to) {
    for (int64_t i = 0; i < babi->width; i++) to[i] = i < span.count ? babi->numbers[span.first + i] : 0;
}

static int fill_source(const struct flow_source_fill *fill) {
    const struct babi *babi = fill->state;
    const int64_t places = ((const struct babi_attrs *)fill->attrs)->sentences, width = babi->width;
    int64_t *story = fill->out[0].data, *question = fill->out[1].data, *answer = fill->out[2].data;
    float *bias = fill->out[3].data;
    for (int64_t row = 0; row < fill->count; row++) {
        const struct question *q = &babi->questions[fill->rows[row]];
        for (int64_t age = 0; age < places; age++) {
            const int64_t at = q->end - 1 - age;
            const bool empty = at < q->story;
            put_words(babi, empty ? (struct span){0} : babi->sentences[at], story + (row * places + age) * width);
            bias[row * places + age] = empty ? EMPTY : 0;
        }
        put_words(babi, q->words, question + row * width);
        answer[row] = babi->numbers[q->answer];
    }
    return FLOW_OK;
}

const struct flow_source data_babi = {
    .size = sizeof data_babi,
    .flags = FLOW_SOURCE_CONSTANT,
    .name = "babi",
    .summary = "questions about short stories, and what was told before",
    .reference = "Weston et al., \"Towards AI-complete question answering: a set of prerequisite toy tasks\" (2015)",
    .example = "train: {source: babi, path: qa1_train.txt, with: {vocabulary: qa1_test.txt, sentences: 50, batch: 32, shuffle: true}, "
               "feeds: {story: story, question: question, answer: answer, bias: bias}}",
    .outputs = FLOW_TABLE(outputs),
    .attrs = FLOW_TABLE(attrs),
    .attrs_size = sizeof(struct babi_attrs),
    .open = open_source,
    .fill = fill_source,
};
