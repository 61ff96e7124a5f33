# SPDX-License-Identifier: Apache-2.0
# The device is opened as the runtime opens it; the tests find the emulation's hooks in the same object.
add_dependencies(test_cuda_device device_cuda)
target_link_libraries(test_cuda_device PRIVATE ${CMAKE_DL_LIBS})
