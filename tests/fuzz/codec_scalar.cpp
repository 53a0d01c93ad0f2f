// SPDX-License-Identifier: MIT
// The scalar half of codec_fuzz.cpp and search_fuzz.cpp, in one program with the native one.
#define EDGEQUANT_FORCE_SCALAR
#include "codec_path.hpp"

namespace fuzz {
codec_output run_scalar(const codec_input& input) { return run_codec(input); }
} // namespace fuzz
