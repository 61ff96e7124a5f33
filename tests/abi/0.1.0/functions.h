/* SPDX-License-Identifier: Apache-2.0 */
/* Of 0.1.0, written by tests/abi/freeze. */
FLOW_EXPORT int32_t flow_errors_count(const flow_errors *errors);
FLOW_EXPORT struct flow_error flow_errors_get(const flow_errors *errors, int32_t index);
FLOW_EXPORT void flow_errors_free(flow_errors *errors);
FLOW_EXPORT const char *flow_status_text(int32_t code);
FLOW_EXPORT const char *flow_version(void);
FLOW_EXPORT void flow_text_free(char *text);
FLOW_EXPORT int flow_runtime_new(const struct flow_runtime_options *options, flow_errors **errors, flow_runtime **out);
FLOW_EXPORT void flow_runtime_free(flow_runtime *runtime);
FLOW_EXPORT int flow_runtime_operator(flow_runtime *runtime, const char *name, flow_errors **errors, struct flow_operator_info *out);
FLOW_EXPORT int flow_runtime_operators(flow_runtime *runtime, flow_errors **errors, struct flow_operator_info **out, size_t *count,
                                       char **failures);
FLOW_EXPORT void flow_runtime_operators_free(flow_runtime *runtime, struct flow_operator_info *list, size_t count);
FLOW_EXPORT int flow_runtime_optimizer(flow_runtime *runtime, const char *name, flow_errors **errors, struct flow_optimizer_info *out);
FLOW_EXPORT int flow_runtime_optimizers(flow_runtime *runtime, flow_errors **errors, struct flow_optimizer_info **out, size_t *count,
                                        char **failures);
FLOW_EXPORT void flow_runtime_optimizers_free(flow_runtime *runtime, struct flow_optimizer_info *list, size_t count);
FLOW_EXPORT int flow_runtime_source(flow_runtime *runtime, const char *name, flow_errors **errors, struct flow_source_info *out);
FLOW_EXPORT int flow_runtime_sources(flow_runtime *runtime, flow_errors **errors, struct flow_source_info **out, size_t *count,
                                     char **failures);
FLOW_EXPORT void flow_runtime_sources_free(flow_runtime *runtime, struct flow_source_info *list, size_t count);
FLOW_EXPORT bool flow_runtime_plugin_folder(flow_runtime *runtime, size_t index, const char **path, const char **why);
FLOW_EXPORT bool flow_runtime_plugin_file(flow_runtime *runtime, size_t index, struct flow_plugin_file *out);
FLOW_EXPORT const char *flow_runtime_plugin_index(flow_runtime *runtime);
FLOW_EXPORT int flow_runtime_machine(flow_runtime *runtime, struct flow_machine *out, flow_errors **errors);
FLOW_EXPORT int flow_runtime_schema(flow_runtime *runtime, flow_errors **errors, char **text);
FLOW_EXPORT int flow_graph_open(flow_runtime *runtime, const char *path, const struct flow_graph_options *options, flow_errors **errors,
                                flow_graph **out);
FLOW_EXPORT int flow_graph_parse(flow_runtime *runtime, const char *path, const char *text, size_t length,
                                 const struct flow_graph_options *options, flow_errors **errors, flow_graph **out);
FLOW_EXPORT void flow_graph_free(flow_graph *graph);
FLOW_EXPORT const char *flow_graph_name(const flow_graph *graph);
FLOW_EXPORT const char *flow_graph_doc(const flow_graph *graph);
FLOW_EXPORT size_t flow_graph_inputs(const flow_graph *graph);
FLOW_EXPORT size_t flow_graph_outputs(const flow_graph *graph);
FLOW_EXPORT struct flow_graph_port flow_graph_input(const flow_graph *graph, size_t index);
FLOW_EXPORT struct flow_graph_port flow_graph_output(const flow_graph *graph, size_t index);
FLOW_EXPORT const char *flow_graph_run_option(const flow_graph *graph, const char *key);
FLOW_EXPORT bool flow_graph_run_entry(const flow_graph *graph, const char *key, size_t index, const char **name, const char **value);
FLOW_EXPORT bool flow_graph_variable(const flow_graph *graph, size_t index, const char **name, const char **value);
FLOW_EXPORT int flow_graph_set(flow_graph *graph, const char *param, const struct flow_tensor *value, flow_errors **errors);
FLOW_EXPORT const struct flow_tensor *flow_graph_parameter(const flow_graph *graph, size_t index, const char **name);
FLOW_EXPORT int flow_graph_check(flow_graph *graph, const char *stream, flow_errors **errors);
FLOW_EXPORT int flow_graph_describe(flow_graph *graph, const struct flow_describe_options *options, flow_errors **errors, char **text);
FLOW_EXPORT int flow_graph_draw(flow_graph *graph, const char *format, flow_errors **errors, char **text);
FLOW_EXPORT int flow_graph_draw_as(flow_graph *graph, const struct flow_draw_options *options, flow_errors **errors, char **text);
FLOW_EXPORT int flow_session_new(flow_graph *graph, const struct flow_session_options *options, flow_errors **errors, flow_session **out);
FLOW_EXPORT void flow_session_free(flow_session *session);
FLOW_EXPORT int flow_session_input(flow_session *session, const char *name, const struct flow_tensor *value, flow_errors **errors);
FLOW_EXPORT int flow_session_feedback(flow_session *session, const char *input, const char *output, flow_errors **errors);
FLOW_EXPORT int flow_session_run(flow_session *session, flow_errors **errors);
FLOW_EXPORT int flow_session_bind_output(flow_session *session, const char *output, void *data, size_t bytes, flow_errors **errors);
FLOW_EXPORT int flow_session_finish(flow_session *session, flow_errors **errors);
FLOW_EXPORT const struct flow_tensor *flow_session_output(const flow_session *session, const char *name);
FLOW_EXPORT const struct flow_tensor *flow_session_output_at(const flow_session *session, size_t index);
FLOW_EXPORT int32_t flow_session_output_axis(const flow_session *session, size_t index);
FLOW_EXPORT int flow_session_cotangent(flow_session *session, const char *output, const struct flow_tensor *value, flow_errors **errors);
FLOW_EXPORT bool flow_session_gradient(const flow_session *session, size_t index, const char **name, const struct flow_tensor **value);
FLOW_EXPORT void flow_session_reset(flow_session *session);
FLOW_EXPORT void flow_session_cancel(flow_session *session);
FLOW_EXPORT struct flow_memory flow_session_memory(const flow_session *session);
FLOW_EXPORT int flow_session_times(flow_session *session, const struct flow_times **out, size_t *count);
FLOW_EXPORT int flow_session_profile(flow_session *session, struct flow_profile *out, flow_errors **errors);
FLOW_EXPORT void flow_session_profile_reset(flow_session *session);
FLOW_EXPORT int flow_runtime_limits(flow_runtime *runtime, struct flow_limits *out, flow_errors **errors);
FLOW_EXPORT int flow_runtime_trace_write(flow_runtime *runtime, const char *path, uint64_t *lost, flow_errors **errors);
FLOW_EXPORT int flow_alone_new(flow_graph *graph, const struct flow_tensor *inputs, flow_errors **errors, flow_alone **out);
FLOW_EXPORT void flow_alone_free(flow_alone *alone);
FLOW_EXPORT size_t flow_alone_count(const flow_alone *alone);
FLOW_EXPORT const struct flow_alone_node *flow_alone_at(const flow_alone *alone, size_t index);
FLOW_EXPORT int flow_trainer_new(flow_graph *graph, const struct flow_trainer_options *options, flow_errors **errors, flow_trainer **out);
FLOW_EXPORT void flow_trainer_free(flow_trainer *trainer);
FLOW_EXPORT int flow_trainer_input(flow_trainer *trainer, const char *name, const struct flow_tensor *value, flow_errors **errors);
FLOW_EXPORT int flow_trainer_next(flow_trainer *trainer, struct flow_event *event, flow_errors **errors);
FLOW_EXPORT void flow_trainer_cancel(flow_trainer *trainer);
FLOW_EXPORT const struct flow_tensor *flow_trainer_parameter(const flow_trainer *trainer, size_t index, const char **name);
FLOW_EXPORT int flow_trainer_save(flow_trainer *trainer, const char *path, flow_errors **errors);
FLOW_EXPORT struct flow_memory flow_trainer_memory(const flow_trainer *trainer);
FLOW_EXPORT int flow_trainer_profile(flow_trainer *trainer, struct flow_profile *out, flow_errors **errors);
FLOW_EXPORT int flow_trainer_times(flow_trainer *trainer, const struct flow_times **out, size_t *count);
FLOW_EXPORT int flow_graph_training(flow_graph *graph, flow_errors **errors, char **json);
FLOW_EXPORT struct flow_tensor flow_tensor_of(void *data, int32_t dtype, int32_t rank, const int64_t *shape);
FLOW_EXPORT int64_t flow_tensor_count(const struct flow_tensor *tensor);
FLOW_EXPORT const char *flow_type_name(int32_t dtype);
FLOW_EXPORT int64_t flow_type_bytes(int32_t dtype);
FLOW_EXPORT double flow_tensor_real(const struct flow_tensor *tensor, int64_t index);
FLOW_EXPORT int flow_file_open(flow_runtime *runtime, const char *path, flow_errors **errors, flow_file **out);
FLOW_EXPORT int flow_file_image(flow_runtime *runtime, const char *name, const void *bytes, size_t size, flow_errors **errors,
                                flow_file **out);
FLOW_EXPORT void flow_file_close(flow_file *file);
FLOW_EXPORT size_t flow_file_count(const flow_file *file);
FLOW_EXPORT const char *flow_file_name(const flow_file *file, size_t index);
FLOW_EXPORT const struct flow_tensor *flow_file_tensor(const flow_file *file, size_t index);
FLOW_EXPORT const struct flow_tensor *flow_file_get(const flow_file *file, const char *name);
FLOW_EXPORT const char *flow_file_metadata(const flow_file *file, const char *key);
FLOW_EXPORT double flow_file_rate(const flow_file *file);
FLOW_EXPORT int flow_file_write(flow_runtime *runtime, const char *path, const struct flow_named *tensors, size_t count, double rate,
                                flow_errors **errors);
FLOW_EXPORT int flow_file_write_bytes(flow_runtime *runtime, const char *path, const void *bytes, size_t size, flow_errors **errors);
FLOW_EXPORT int flow_wave_open(flow_runtime *runtime, const char *path, flow_errors **errors, flow_wave **out);
FLOW_EXPORT void flow_wave_close(flow_wave *wave);
FLOW_EXPORT int32_t flow_wave_channels(const flow_wave *wave);
FLOW_EXPORT double flow_wave_rate(const flow_wave *wave);
FLOW_EXPORT int flow_wave_next(flow_wave *wave, int64_t least, int64_t count, float *samples, int64_t stride, int64_t *got,
                               flow_errors **errors);
