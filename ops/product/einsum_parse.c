/* SPDX-License-Identifier: Apache-2.0 */
/* Reads "bij,bjk->bik": letters of operands and result become numbers in order of appearance. "..." stands for the axes that no letter
 * names, the same ones in every operand that has it; without "->" the result has the letters that appear once, in alphabetical order. */
#include "product/product.h"

#include <string.h>

struct parse {
    const struct flow_infer *infer;
    const char *equation;
    struct einsum_plan *plan;
    char name[EINSUM_LETTERS];   /* of each letter; 0: an axis of "..." */
    int32_t rest[FLOW_RANK_MAX]; /* letters of the axes of "...", counted from the last */
    int32_t rests;
};

static int32_t letter_find(const struct parse *parse, char name) {
    for (uint32_t i = 0; i < parse->plan->letters; ++i)
        if (parse->name[i] == name) return (int32_t)i;
    return -1;
}

/* 26 + 26 letters and 8 axes of "..." are fewer than EINSUM_LETTERS: there is always room. */
static int32_t letter_new(struct parse *parse, char name) {
    parse->name[parse->plan->letters] = name;
    return (int32_t)parse->plan->letters++;
}

static int32_t rest_letter(struct parse *parse, int32_t from_last) {
    while (parse->rests <= from_last) parse->rest[parse->rests++] = letter_new(parse, 0);
    return parse->rest[from_last];
}

static bool letter_valid(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'); }

static int fail(const struct parse *parse, const char *what, char c) {
    return parse->infer->host->fail_at(parse->infer->owner, "equation", FLOW_ERROR_USAGE, "equation \"%s\": %s%.1s", parse->equation, what,
                                       &c);
}

/* One operand's letters, `text` of `length` characters. rank -1 (the result): "..." gives all axes of "..." met so far. */
static int term_parse(struct parse *parse, const char *text, size_t length, int32_t rank, struct einsum_term *term) {
    int32_t letters = 0, dots = 0;
    for (size_t i = 0; i < length; ++i) {
        if (text[i] == ' ') continue;
        if (text[i] == '.' && i + 2 < length && text[i + 1] == '.' && text[i + 2] == '.') {
            ++dots;
            i += 2;
        } else if (letter_valid(text[i])) {
            ++letters;
        } else {
            return fail(parse, "expected letters and \"...\", found ", text[i]);
        }
    }
    if (dots > 1) return fail(parse, "\"...\" more than once in one operand", 0);
    int32_t rest = dots == 0 ? 0 : rank < 0 ? parse->rests : rank - letters;
    if (rank >= 0 && (letters + rest != rank || rest < 0))
        return parse->infer->host->fail(parse->infer->owner, FLOW_ERROR_SHAPE,
                                        "operand \"%.*s\" of \"%s\" names %d axes, the tensor has %d", (int)length, text, parse->equation,
                                        letters, rank);
    if (letters + rest > FLOW_RANK_MAX) return fail(parse, "the result has more than 8 axes", 0);
    for (size_t i = 0; i < length; ++i) {
        if (text[i] == ' ') continue;
        if (text[i] == '.') {
            for (int32_t j = rest - 1; j >= 0; --j) term->letter[term->rank++] = (uint8_t)rest_letter(parse, j);
            i += 2;
            continue;
        }
        int32_t letter = letter_find(parse, text[i]);
        if (letter < 0 && rank < 0) return fail(parse, "no operand has the result's letter ", text[i]);
        if (letter < 0) letter = letter_new(parse, text[i]);
        term->letter[term->rank++] = (uint8_t)letter;
    }
    return FLOW_OK;
}

/* Without "->": the axes of "...", then the letters that appear once. */
static int result_implied(struct parse *parse) {
    struct einsum_plan *plan = parse->plan;
    int32_t uses[EINSUM_LETTERS] = {0};
    for (uint32_t i = 0; i < plan->operands; ++i)
        for (int32_t j = 0; j < plan->in[i].rank; ++j) ++uses[plan->in[i].letter[j]];
    for (int32_t j = parse->rests - 1; j >= 0; --j) plan->out.letter[plan->out.rank++] = (uint8_t)parse->rest[j];
    for (char c = 'A'; c <= 'z'; ++c) {
        int32_t letter = letter_valid(c) ? letter_find(parse, c) : -1;
        if (letter < 0 || uses[letter] != 1) continue;
        if (plan->out.rank == FLOW_RANK_MAX) return fail(parse, "the result has more than 8 axes", 0);
        plan->out.letter[plan->out.rank++] = (uint8_t)letter;
    }
    return FLOW_OK;
}

int einsum_parse(const struct flow_infer *infer, const char *equation, struct einsum_plan *plan) {
    struct parse parse = {.infer = infer, .equation = equation, .plan = plan};
    memset(plan, 0, sizeof *plan);
    const char *arrow = strstr(equation, "->"), *end = arrow ? arrow : equation + strlen(equation), *at = equation;
    while (true) {
        const char *comma = memchr(at, ',', (size_t)(end - at)), *stop = comma ? comma : end;
        if (plan->operands == EINSUM_OPERANDS) return fail(&parse, "more than 16 operands", 0);
        if (plan->operands < infer->in_count) {
            uint32_t i = plan->operands;
            int status = term_parse(&parse, at, (size_t)(stop - at), infer->in[i].rank, &plan->in[i]);
            if (status < 0) return status;
        }
        ++plan->operands;
        if (!comma) break;
        at = comma + 1;
    }
    if (plan->operands != infer->in_count)
        return infer->host->fail(infer->owner, FLOW_ERROR_SHAPE, "equation \"%s\" has %u operands, the node has %u inputs", equation,
                                 plan->operands, infer->in_count);
    if (!arrow) return result_implied(&parse);
    int status = term_parse(&parse, arrow + 2, strlen(arrow + 2), -1, &plan->out);
    if (status < 0) return status;
    for (int32_t i = 0; i < plan->out.rank; ++i)
        for (int32_t j = 0; j < i; ++j)
            if (plan->out.letter[i] == plan->out.letter[j])
                return fail(&parse, "the result has a letter twice: ", parse.name[plan->out.letter[i]]);
    return FLOW_OK;
}
