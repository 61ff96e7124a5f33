/* SPDX-License-Identifier: Apache-2.0 */
/* Speech: spectra, mel energies, frames, the FSMN memory block, segments of speech. */
#include "speech.h"

static const struct flow_operator *const operators[] = {
    &fsmn_operator,        &stft_operator,  &istft_operator,       &fbank_operator,
    &frame_stack_operator, &frame_operator, &overlap_add_operator, &vad_segments_operator,
};

static const struct flow_plugin plugin = {
    .size = sizeof(struct flow_plugin),
    .abi = FLOW_ABI,
    .api = FLOW_API,
    .name = "speech",
    .version = "1.0",
    .licence = "Apache-2.0",
    .summary = "spectra, mel energies, frames, the FSMN memory block, segments of speech",
    .reference = "Zhang et al., Feedforward Sequential Memory Networks (2015)",
    .operators = FLOW_TABLE(operators),
    .kernels = FLOW_TABLE_EMPTY,
};

const struct flow_plugin *FLOW_ENTRY(void) { return &plugin; }
