/* SPDX-License-Identifier: Apache-2.0 */
#include "graph/draw.h"

#include "graph/draw_scene.h"
#include "graph/draw_write.h"

int draw_network(const struct allocator *from, const struct network *network, const struct draw_options *options, struct text *out) {
    struct arena arena;
    struct scene scene;
    arena_init(&arena, from);
    int rc = scene_new(&arena, network, options, &scene);
    if (rc == 0 && scene.node_count > DRAW_NODES_MOST) rc = FLOW_ERROR_UNSUPPORTED;
    if (rc == 0) switch (options->format) {
        case DRAW_SVG: rc = draw_svg(&scene, out); break;
        case DRAW_DOT: draw_dot(&scene, out); break;
        case DRAW_MERMAID: draw_mermaid(&scene, out); break;
        case DRAW_JSON: draw_json(&scene, out); break;
        }
    arena_free(&arena);
    return rc < 0 ? rc : out->failed ? FLOW_ERROR_MEMORY : 0;
}
