/* SPDX-License-Identifier: Apache-2.0 */
/* The formats of a drawing. */
#ifndef FLOW_GRAPH_DRAW_WRITE_H
#define FLOW_GRAPH_DRAW_WRITE_H

#include "graph/draw_scene.h"

int must_use draw_svg(const struct scene *scene, struct text *out);
void draw_dot(const struct scene *scene, struct text *out);
void draw_mermaid(const struct scene *scene, struct text *out);
/* Everything that is known of what the SVG shows, by the same numbers. */
void draw_json(const struct scene *scene, struct text *out);

#endif
