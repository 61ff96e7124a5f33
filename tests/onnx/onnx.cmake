# SPDX-License-Identifier: Apache-2.0
if(TARGET onnx_import)
  target_link_libraries(test_onnx PRIVATE onnx_import flow_static)
  target_compile_definitions(test_onnx PRIVATE FLOWRUN_ONNX)
endif()
