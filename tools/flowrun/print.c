/* SPDX-License-Identifier: Apache-2.0 */
#include "flowrun/print.h"

#include "flowrun/command.h"

#include <math.h>
#include <string.h>

const char *print_type(const struct flow_tensor *tensor, char *text, size_t size) {
    int used = snprintf(text, size, "%s [", flow_type_name(tensor->dtype));
    for (int32_t i = 0; i < tensor->rank && used > 0 && (size_t)used < size; i++)
        used += snprintf(text + used, size - (size_t)used, "%s%lld", i ? ", " : "", (long long)tensor->shape[i]);
    if (used > 0 && (size_t)used < size) snprintf(text + used, size - (size_t)used, "]");
    return text;
}

static bool is_real(const struct flow_tensor *tensor) {
    return tensor->dtype == FLOW_F32 || tensor->dtype == FLOW_F64 || tensor->dtype == FLOW_F16 || tensor->dtype == FLOW_BF16;
}

static void print_element(FILE *out, const struct flow_tensor *tensor, int64_t index) {
    double value = flow_tensor_real(tensor, index);
    if (tensor->dtype == FLOW_BOOL) fputs(value != 0 ? "true" : "false", out);
    else if (!is_real(tensor)) fprintf(out, "%.0f", value);
    else if (!isfinite(value)) fputs("null", out);
    else fprintf(out, tensor->dtype == FLOW_F64 ? "%.17g" : "%.9g", value);
}

static void print_axis(FILE *out, const struct flow_tensor *tensor, int32_t axis, int64_t *index) {
    if (axis == tensor->rank) {
        print_element(out, tensor, (*index)++);
        return;
    }
    fputc('[', out);
    for (int64_t i = 0; i < tensor->shape[axis]; i++) {
        if (i) fputs(", ", out);
        print_axis(out, tensor, axis + 1, index);
    }
    fputc(']', out);
}

void print_string(FILE *out, const char *bytes, size_t length) {
    fputc('"', out);
    for (size_t i = 0; i < length; i++) {
        unsigned char c = (unsigned char)bytes[i];
        if (c == '"' || c == '\\') fprintf(out, "\\%c", c);
        else if (c == '\n') fputs("\\n", out);
        else if (c < 0x20) fprintf(out, "\\u%04x", c);
        else fputc(c, out);
    }
    fputc('"', out);
}

void print_json(FILE *out, const struct flow_tensor *tensor) {
    int64_t index = 0;
    if (tensor->dtype == FLOW_U8 && tensor->rank == 1) print_string(out, tensor->data, (size_t)tensor->shape[0]);
    else print_axis(out, tensor, 0, &index);
}

static void print_statistics(FILE *out, const struct flow_tensor *tensor, int64_t count) {
    double low = INFINITY, high = -INFINITY, sum = 0;
    int64_t odd = 0;
    for (int64_t i = 0; i < count; i++) {
        double value = flow_tensor_real(tensor, i);
        if (!isfinite(value)) {
            odd++;
            continue;
        }
        low = value < low ? value : low, high = value > high ? value : high, sum += value;
    }
    if (count > odd) fprintf(out, "  %.6g .. %.6g, mean %.6g", low, high, sum / (double)(count - odd));
    if (odd) fprintf(out, "%s  %lld not finite%s", RED, (long long)odd, PLAIN);
    fputc('\n', out);
}

void print_summary(FILE *out, const char *name, const struct flow_tensor *tensor) {
    char type[160];
    int64_t count = flow_tensor_count(tensor);
    fprintf(out, "%s%-20s%s %-18s", BOLD, name, PLAIN, print_type(tensor, type, sizeof type));
    bool pairs = !is_real(tensor) && tensor->rank == 2 && tensor->shape[1] == 2 && tensor->shape[0] <= 100;
    if (tensor->dtype == FLOW_U8 && tensor->rank == 1) {
        fputs("  ", out);
        print_string(out, tensor->data, (size_t)(count < 200 ? count : 200));
        fputc('\n', out);
    } else if (pairs) {
        fputc('\n', out);
        for (int64_t i = 0; i < tensor->shape[0]; i++)
            fprintf(out, "  %10.0f %10.0f\n", flow_tensor_real(tensor, 2 * i), flow_tensor_real(tensor, 2 * i + 1));
    } else if (count <= 8) {
        fputs("  ", out);
        print_json(out, tensor);
        fputc('\n', out);
    } else {
        print_statistics(out, tensor, count);
    }
}
