// SPDX-License-Identifier: MIT
/// Files of a reference's log probabilities, as llama.cpp's `llama-perplexity
/// --kl-divergence-base` writes and reads them: a reference is run once, and compared with often.
#pragma once

#include "../metric/logits.hpp"
#include "../system/mapped_file.hpp"
#include "../system/output_file.hpp"
#include "bytes.hpp"

#include <cmath>
#include <filesystem>
#include <vector>

namespace edgequant::inline EDGEQUANT_ABI {

/// The text is cut into chunks of `context` tokens; of each, tokens from context / 2 + 1 on are
/// scored. Bytes: "_logits_", u32 context, i32 vocabulary, i32 chunks, i32 tokens[chunks][context],
/// then for each scored token u16[2 * ceil(vocabulary / 2) + 4]: two floats s and m, and codes c of
/// log p = s * c + m.
struct logit_file_header {
  std::uint32_t context = 0, vocabulary = 0;
  std::vector<std::int32_t> tokens; ///< of all chunks

  [[nodiscard]] std::size_t chunks() const noexcept { return tokens.size() / context; }
  /// Scored tokens of a chunk.
  [[nodiscard]] std::size_t scored() const noexcept { return context - 1 - context / 2; }
  /// Bytes of a scored token.
  [[nodiscard]] std::size_t row_bytes() const noexcept {
    return 2 * (2 * ((std::size_t{vocabulary} + 1) / 2) + 4);
  }
};

/// Writes such a file; it appears complete with finish(), or not at all.
class logit_file_writer {
public:
  logit_file_writer(const std::filesystem::path& path, const logit_file_header& header);
  /// The next scored token's logits, one a word of the vocabulary.
  void write(std::span<const float> logits);
  void finish() { file_.commit(); }

private:
  output_file file_;
  std::size_t row_bytes_;
};

/// Reads one. bad_file, with the place, for what is no such file, is cut off, or has tokens outside
/// of its vocabulary.
class logit_file {
public:
  explicit logit_file(const std::filesystem::path& path);
  [[nodiscard]] const logit_file_header& header() const noexcept { return header_; }
  [[nodiscard]] const std::string& place() const noexcept { return place_; }
  /// Log probabilities of scored token `index` of the file; valid until the next call.
  [[nodiscard]] reference_logits row(std::size_t index);

private:
  std::string place_;
  mapped_file file_;
  logit_file_header header_;
  std::span<const std::byte> rows_;
  std::vector<float> values_;
};

inline logit_file_writer::logit_file_writer(const std::filesystem::path& path,
                                            const logit_file_header& header)
    : file_(path), row_bytes_(header.row_bytes()) {
  std::vector<std::byte> bytes;
  append_text(bytes, "_logits_");
  append_number(bytes, header.context);
  append_number(bytes, header.vocabulary);
  append_number(bytes, static_cast<std::uint32_t>(header.chunks()));
  for (const auto token : header.tokens) append_number(bytes, token);
  file_.write(bytes);
}

inline void logit_file_writer::write(std::span<const float> logits) {
  const auto [low, high] = std::minmax_element(logits.begin(), logits.end());
  const float most = *high, least = std::max(*low, most - 16);
  const float scale = (most - least) / 65535;
  std::vector<std::byte> row;
  append_number(row, scale);
  append_number(row, static_cast<float>(least - log_sum_exp(logits)));
  for (const float x : logits) {
    const float code = scale > 0 && x > least ? std::nearbyint((x - least) / scale) : 0;
    append_number(row, static_cast<std::uint16_t>(code));
  }
  row.resize(row_bytes_);
  file_.write(row);
}

inline logit_file::logit_file(const std::filesystem::path& path)
    : place_(place_of(path)), file_(path) {
  byte_reader reader(file_.bytes(), place_);
  const auto name = reader.read_bytes(8, "the name of the format");
  if (as_text(name) != "_logits_") reader.refuse(0, "no file of log probabilities");
  header_.context = reader.read<std::uint32_t>("tokens of a chunk");
  header_.vocabulary = reader.read<std::uint32_t>("the size of the vocabulary");
  const auto chunks = reader.read<std::uint32_t>("the number of chunks");
  constexpr std::uint32_t most = 0x7fffffff;
  if (header_.context < 4 || header_.context > most || header_.vocabulary == 0 ||
      header_.vocabulary > most || chunks == 0)
    reader.refuse(8, "sizes that no file has");
  const std::uint64_t count = std::uint64_t{header_.context} * chunks;
  if (count > reader.remaining() / 4) reader.refuse(20, "more tokens than the file has bytes");
  for (std::uint64_t i = 0; i < count; ++i) {
    header_.tokens.push_back(reader.read<std::int32_t>("a token"));
    if (header_.tokens.back() < 0 ||
        static_cast<std::uint32_t>(header_.tokens.back()) >= header_.vocabulary)
      reader.refuse(reader.offset() - 4, "a token outside of the vocabulary");
  }
  const std::uint64_t rows = chunks * header_.scored();
  if (reader.remaining() / header_.row_bytes() < rows)
    reader.refuse(reader.offset(), "fewer log probabilities than the chunks have tokens");
  rows_ = reader.read_bytes(rows * header_.row_bytes(), "log probabilities");
}

inline reference_logits logit_file::row(std::size_t index) {
  const auto bytes = rows_.subspan(index * header_.row_bytes(), header_.row_bytes());
  float scale = 0, least = 0;
  std::memcpy(&scale, bytes.data(), 4);
  std::memcpy(&least, bytes.data() + 4, 4);
  values_.resize(header_.vocabulary);
  for (std::size_t i = 0; i < values_.size(); ++i) {
    std::uint16_t code = 0;
    std::memcpy(&code, bytes.data() + 8 + 2 * i, 2);
    values_[i] = scale * static_cast<float>(code) + least;
  }
  return {values_, 0, -16}; // what is less likely was not kept
}

} // namespace edgequant::inline EDGEQUANT_ABI
