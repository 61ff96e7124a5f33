# SPDX-License-Identifier: Apache-2.0
# Trainings that are killed and resumed; by hand with a larger count.
if(TARGET flowrun)
  add_test(NAME train_kill COMMAND ${CMAKE_CURRENT_SOURCE_DIR}/train/kill $<TARGET_FILE:flowrun> ${CMAKE_BINARY_DIR}/plugins 20)
endif()
