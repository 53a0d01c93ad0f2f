// SPDX-License-Identifier: MIT
/// What the fuzz targets share. A target aborts on a broken promise; everything else that goes
/// wrong is for the sanitizers to see.
#pragma once

#include <edgequant/io/bytes.hpp>
#include <edgequant/io/tensor.hpp>
#include <edgequant/quantizer/row_codec.hpp>

#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <span>
#include <string_view>
#include <vector>

/// What libFuzzer calls, and the replay of the stored inputs too.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size);

namespace fuzz {

namespace eq = edgequant;

inline void require(bool holds, const char* promise) {
  if (holds) return;
  std::fprintf(stderr, "fuzz: broken promise: %s\n", promise);
  std::abort();
}

[[nodiscard]] inline std::span<const std::byte> bytes_of(const std::uint8_t* data,
                                                         std::size_t size) noexcept {
  return {reinterpret_cast<const std::byte*>(data), size};
}

/// One printable line that begins with the place and is short, whatever the input held.
inline void require_message(const eq::exception& error, std::string_view place) {
  const std::string_view message = error.what();
  require(message.starts_with(place), "a refusal begins with the place");
  require(message.size() < 1000, "a refusal is short");
  for (const char c : message)
    require(static_cast<unsigned char>(c) >= 0x20 && c != 0x7f, "a refusal is one printable line");
}

/// Calls `call`. To refuse with an edgequant::exception is as good as to return; which of both it
/// was is the result.
template <class Call> bool accepts(std::string_view place, Call&& call) {
  try {
    call();
    return true;
  } catch (const eq::exception& error) {
    require_message(error, place);
    return false;
  }
}

/// Reads every byte, so that a span which leaves its owner is seen.
inline void touch(std::span<const std::byte> bytes) noexcept {
  volatile std::uint8_t sum = 0;
  for (const std::byte b : bytes)
    sum = static_cast<std::uint8_t>(sum ^ static_cast<std::uint8_t>(b));
}

/// What a reader promises of a tensor; its first row is decoded where that can be done.
inline void walk_tensor(const eq::stored_tensor& tensor) {
  const auto size = eq::tensor_bytes(tensor.type, tensor.dims, eq::error_code::bad_file, "tensor");
  require(tensor.data.size() == size, "data has the size that type and dims ask for");
  require(tensor.rows() * eq::row_bytes(tensor.type, tensor.columns()) == size,
          "rows make up data");
  touch(tensor.data);
  if (eq::info_of(tensor.type).use == eq::format_use::carried) return;
  std::vector<float> row(tensor.columns());
  eq::decode_row(tensor.type, tensor.data.data(), row);
}

} // namespace fuzz
