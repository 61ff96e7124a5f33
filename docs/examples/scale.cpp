// SPDX-License-Identifier: Apache-2.0
// The same library from C++: handles that free themselves, errors as an exception of the application's own.
//
//     c++ scale.cpp $(pkg-config --cflags --libs flow) -o scale && ./scale
#include <flow/flow.h>

#include <cstdio>
#include <memory>
#include <stdexcept>
#include <string>

template <auto function> struct Free {
    template <class T> void operator()(T *object) const { function(object); }
};
using Runtime = std::unique_ptr<flow_runtime, Free<flow_runtime_free>>;
using Graph = std::unique_ptr<flow_graph, Free<flow_graph_free>>;
using Session = std::unique_ptr<flow_session, Free<flow_session_free>>;

// Throws what the list says.
static void check(int code, flow_errors *&errors) {
    if (code == 0) return;
    std::string text = flow_errors_count(errors) ? flow_errors_get(errors, 0).text : flow_status_text(code);
    flow_errors_free(errors);
    errors = nullptr;
    throw std::runtime_error(text);
}

int main() try {
    const std::string text = "flow: 1\ninputs: {x: {dtype: f32, shape: [N]}}\nnodes: {y: {op: square, in: x}}\noutputs: {y: y}\n";
    flow_errors *errors = nullptr;
    flow_runtime *runtime_made = nullptr;
    flow_graph *graph_made = nullptr;
    flow_session *session_made = nullptr;
    check(flow_runtime_new(nullptr, &errors, &runtime_made), errors);
    Runtime runtime(runtime_made); // declared in the order of their making, so freed in the other
    check(flow_graph_parse(runtime.get(), "square.yaml", text.data(), text.size(), nullptr, &errors, &graph_made), errors);
    Graph graph(graph_made);
    check(flow_session_new(graph.get(), nullptr, &errors, &session_made), errors);
    Session session(session_made);

    float x[3] = {1, 2, 3};
    const int64_t shape[1] = {3};
    const flow_tensor input = flow_tensor_of(x, FLOW_F32, 1, shape);
    check(flow_session_input(session.get(), "x", &input, &errors), errors);
    check(flow_session_run(session.get(), &errors), errors);
    std::printf("%g\n", flow_tensor_real(flow_session_output(session.get(), "y"), 2));
    return 0;
} catch (const std::exception &error) {
    std::fprintf(stderr, "%s\n", error.what());
    return 1;
}
