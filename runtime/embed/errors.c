/* SPDX-License-Identifier: Apache-2.0 */
#include "base/plain.h"
#include "embed/embed.h"
#include "embed/text_out.h"

#include <stddef.h>
#include <string.h>

/* Every function that can fail begins and ends here, so this is where the application's locale is left and found again. */
void errors_begin(struct report *report, const struct allocator *from) {
    report_init(report, from);
    report->outside = plain_begin();
}

void errors_again(struct report *report) {
    void *outside = report->outside;
    const struct allocator *from = report->arena.from;
    report_free(report);
    report_init(report, from);
    report->outside = outside;
}

/* Adds the messages of one list to another, in order. */
static void errors_append(struct report *to, const struct report *from) {
    for (const struct report_message *message = from->first; message; message = message->next)
        report_add(to, message->code, message->at, "%s", message->text);
    if (from->incomplete) to->incomplete = true;
}

int errors_end(struct report *report, flow_errors **errors, int code) {
    plain_end(report->outside);
    if (code >= 0 || !errors) {
        report_free(report);
        return code;
    }
    if (!report->first && !report->incomplete) report_add(report, code, (struct position){0}, "%s", status_text(code));
    if (*errors) {
        errors_append(&(*errors)->report, report);
        report_free(report);
        return code;
    }
    struct allocator from = *report->arena.from;
    flow_errors *made = memory_new(&from, sizeof *made);
    if (made) {
        made->from = from;
        made->report = *report;
        made->report.arena.from = &made->from;
    } else {
        report_free(report);
    }
    *errors = made;
    return code;
}

int32_t flow_errors_count(const flow_errors *errors) {
    if (!errors) return 0;
    int32_t count = errors->report.count < REPORT_MOST ? errors->report.count : REPORT_MOST;
    return count ? count : errors->report.incomplete;
}

struct flow_error flow_errors_get(const flow_errors *errors, int32_t index) {
    const struct report_message *message = errors ? errors->report.first : NULL;
    for (int32_t i = 0; message && i < index; i++) message = message->next;
    if (!message) return (struct flow_error){FLOW_ERROR_MEMORY, 0, 0, NULL, status_text(FLOW_ERROR_MEMORY)};
    return (struct flow_error){message->code, message->at.line, message->at.column, message->at.file, message->text};
}

void flow_errors_free(flow_errors *errors) {
    if (!errors) return;
    report_free(&errors->report);
    struct allocator from = errors->from;
    memory_free(&from, errors, sizeof *errors);
}

const char *flow_status_text(int32_t code) { return status_text(code); }
const char *flow_version(void) { return FLOW_VERSION_TEXT; }

/* What stands before a text: it may outlive the runtime that made it. */
struct text_head {
    struct allocator from;
    size_t bytes;
};

char *text_out(const struct text *text) {
    size_t bytes = sizeof(struct text_head) + text->length + 1;
    struct text_head *head = text->failed ? NULL : memory_new(text->from, bytes);
    if (!head) return NULL;
    *head = (struct text_head){*text->from, bytes};
    char *copy = (char *)(head + 1);
    if (text->length) memcpy(copy, text->at, text->length);
    return copy;
}

void flow_text_free(char *text) {
    if (!text) return;
    struct text_head *head = (struct text_head *)(void *)text - 1;
    struct allocator from = head->from;
    memory_free(&from, head, head->bytes);
}
