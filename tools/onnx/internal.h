/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The way of a model: bytes -> messages (model.c) -> one walk over its nodes (walk.c). Of each node either the value is known now (fold.c:
 * weights, shapes, arithmetic on them), or map_*.c makes nodes of this language of it, or it is refused and told. Then neighbours that are
 * one operator here are joined (join.c), what nothing needs is left out, and the rest is written (write.c).
 */
#ifndef TOOLS_ONNX_INTERNAL_H
#define TOOLS_ONNX_INTERNAL_H

#include "onnx.pb-c.h"
#include "onnx/extent.h"
#include "onnx/import.h"

#include <string.h>

enum { RANK = FLOW_RANK_MAX, FOLD_MOST = 1 << 22, INTS_MOST = 4096 }; /* elements of one value computed now */

struct made;

/* A tensor of the model. */
struct value {
    const char *name;
    int32_t dtype, rank;
    struct extent shape[RANK];
    int64_t count;       /* elements, of `data` and `ints` */
    const void *data;    /* known now: contiguous elements */
    struct extent *ints; /* whole numbers known as expressions of symbols (data NULL) */
    struct made *from;   /* the node that gives it, by `port` (NULL: its first output) */
    const char *port;
    const char *input;       /* the graph's input of this name */
    const char *tensor_name; /* of a weight, as the model calls it */
    bool lost;               /* what gives it was refused */
};

struct made_in {
    const char *port; /* NULL: by place */
    struct value *value;
};

/* A node of the graph that is written. */
struct made {
    const char *name, *op, *scope;
    struct {
        struct made_in *at;
        size_t count, room;
    } in;
    struct text with; /* "units: 4, bias: false" */
    struct {
        struct made_weight {
            const char *param;
            struct flow_tensor tensor;
        } * at;
        size_t count, room;
    } weights;
    struct value *state; /* expand with `state: {x: ..}` */
    bool live;
    /* What join.c asks for. */
    size_t uses; /* of its first output: edges, outputs of the graph */
    struct value *out;
};

/* A node of the model, its tensors looked up. */
struct node {
    const Onnx__Node *from;
    const char *op, *label, *scope;
    const char *word; /* the operator here, where several of the model's share a function */
    size_t in_count, out_count;
    struct value **in; /* NULL: left out */
    struct value **out;
};

struct frame { /* names of one graph of the model; a branch's stand before those around it */
    struct names names;
    struct frame *up;
};

struct import {
    struct store store;
    const struct onnx_options *options;
    ProtobufCAllocator messages; /* bounded as the store is */
    size_t messages_used, messages_limit;
    bool messages_full; /* one could not be had */
    struct {
        const void **at;
        size_t count, room;
    } opened; /* messages to be freed, with how */
    const Onnx__Model *model;
    int64_t opset;
    struct frame *frame;
    struct names labels; /* names of nodes that are taken */
    struct {
        struct made **at;
        size_t count, room;
    } made;
    struct {
        struct import_input {
            const char *name, *theirs;
            struct value *value;
        } * at;
        size_t count, room;
    } inputs;
    struct {
        struct import_output {
            const char *name;
            struct value *value;
        } * at;
        size_t count, room;
    } outputs;
    struct words refusals, hints;
    bool format; /* the bytes are damaged, nothing is merely not covered */
    size_t source_count;
    int32_t depth;
    struct {
        struct mapping_file {
            void *at;
            size_t size;
            const char *name;
        } * at;
        size_t count, room;
    } files; /* external data */
};

/* ---- model.c ---- */
int model_read(struct import *m, const uint8_t *bytes, size_t size);
const Onnx__Graph *model_subgraph(struct import *m, ProtobufCBinaryData bytes); /* NULL: damaged */
void model_close(struct import *m);
/* false: refused, *why says it. */
bool model_tensor(struct import *m, const Onnx__Tensor *tensor, struct value *value, const char **why);
int32_t model_type(int32_t elem_type); /* -1: not one of ours */
void model_refuse(struct import *m, const char *format, ...) __attribute__((format(__printf__, 2, 3)));

/* ---- walk.c ---- */
bool refuse(struct import *m, const struct node *n, const char *format, ...) __attribute__((format(__printf__, 3, 4))); /* false */
struct value *walk_find(struct import *m, const char *name);                                                            /* NULL */
void walk_graph(struct import *m, const Onnx__Graph *graph);
const char *walk_word(struct import *m, const char *text); /* letters, digits, _ */
/* `--set NAME=NUMBER`: false where it is not given. */
bool walk_set(const struct import *m, const char *name, double *number);

/* ---- value.c ---- */
struct value *value_new(struct import *m, int32_t dtype, int32_t rank, const struct extent *shape);
struct value *value_scalar(struct import *m, int32_t dtype, double number);
struct value *value_ints(struct import *m, size_t count, const int64_t *at);
bool value_known(const struct value *v); /* data or ints */
static const int64_t EXTENT_MOST = (int64_t)1 << 40;
bool shape_possible(const struct value *v);
bool value_count(const struct value *v, int64_t *count);      /* elements, where the shape is plain numbers */
double value_real(const struct value *v, int64_t i);          /* of data */
int64_t value_int(const struct value *v, int64_t i);          /* of data */
struct extent value_extent(const struct value *v, int64_t i); /* of data of whole numbers, or ints */
void value_store(int32_t dtype, void *data, int64_t i, double real, int64_t whole);
bool value_is_float(int32_t dtype);
bool value_list(const struct value *v, int64_t *at, int64_t most, int64_t *count); /* plain whole numbers */
bool value_one(const struct value *v, double *number);                             /* data of one element */
/* Broadcasts b's shape into shape[rank]. false: they do not fit. */
bool shape_join(struct extent *shape, int32_t *rank, const struct value *b);
/* Data as f32 of another order: perm of axes. */
struct flow_tensor tensor_of(struct import *m, const struct value *v);
struct flow_tensor tensor_zeros(struct import *m, int32_t dtype, int32_t rank, const int64_t *shape);
struct value *value_transposed(struct import *m, const struct value *v, const int64_t *perm);

/* ---- make.c ---- */
int64_t attr_int(const struct node *n, const char *name, int64_t otherwise);
double attr_real(const struct node *n, const char *name, double otherwise);
const char *attr_text(struct import *m, const struct node *n, const char *name, const char *otherwise);
bool attr_ints(const struct node *n, const char *name, const int64_t **at, size_t *count);
const Onnx__Attribute *attr_find(const struct node *n, const char *name);

struct made *make_node(struct import *m, const struct node *n, const char *op);
struct made *make_named(struct import *m, const struct node *n, const char *op, const char *name);
void make_in(struct import *m, struct made *made, const char *port, struct value *value);
void make_with(struct import *m, struct made *made, const char *format, ...) __attribute__((format(__printf__, 3, 4)));
void make_reals(struct import *m, struct made *made, const char *key, double value);
void make_ints(struct import *m, struct made *made, const char *key, size_t count, const int64_t *at);
void make_weight(struct import *m, struct made *made, const char *param, struct flow_tensor tensor);
struct value *make_out(struct import *m, struct made *made, const char *port, int32_t dtype, int32_t rank, const struct extent *shape);
/* One input, one output of the same type and shape. */
struct value *make_same(struct import *m, const struct node *n, const char *op, struct value *x);
struct value *make_transpose(struct import *m, const struct node *n, struct value *x, const int64_t *perm);
struct value *make_unsqueeze(struct import *m, const struct node *n, struct value *x, int64_t axis);
struct value *make_squeeze(struct import *m, const struct node *n, struct value *x, int64_t axis);
struct value *make_binary(struct import *m, const struct node *n, const char *op, struct value *a, struct value *b, int32_t dtype);
struct value *make_cast(struct import *m, const struct node *n, struct value *x, int32_t dtype);
struct value *make_slice(struct import *m, const struct node *n, struct value *x, int64_t axis, int64_t start, int64_t stop, int64_t step,
                         const struct extent *extent);
/* A known value as a node's output. false: it cannot be written (refused). */
bool make_known(struct import *m, const struct node *n, struct value *v);
const char *real_text(struct store *store, double value, int32_t dtype);
void give(const struct node *n, size_t index, struct value *value);
bool axis_of(struct import *m, const struct node *n, int64_t axis, int32_t rank, int64_t *out); /* refuses */

/* ---- fold.c ---- */
/* true: the outputs are known now. */
bool fold_node(struct import *m, struct node *n);

/* ---- map_*.c ---- */
struct map {
    const char *op;
    bool (*run)(struct import *m, struct node *n); /* false: refused */
    const char *word;                              /* the operator's, for those that share a function */
    int32_t inputs;                                /* that it must have */
};
extern const struct map map_elementwise[], map_shape[], map_product[], map_norm[], map_recurrent[], map_reduce[];

/* ---- join.c, write.c ---- */
void join_nodes(struct import *m);
void write_graph(struct import *m, struct onnx_result *out);

#endif
