// SPDX-License-Identifier: MIT
/// Reads the pieces of a SentencePiece tokenizer.model. Source: sentencepiece_model.proto and the
/// protobuf wire format.
#pragma once

#include "../core/float_types.hpp"
#include "../system/mapped_file.hpp"
#include "bytes.hpp"

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace edgequant::inline EDGEQUANT_ABI {

struct sentencepiece_model {
  struct piece {
    std::string text;      ///< not empty
    float score = 0;       ///< finite
    std::int32_t type = 1; ///< 1 normal, 2 unknown, 3 control, 4 user-defined, 5 unused, 6 byte
  };
  std::vector<piece> pieces; ///< at the index that is the token's number; at least one
  bool add_dummy_prefix = true;
  std::vector<std::string> notes = {}; ///< what it does to a text and GGUF does not say; one line
};

/// `place` stands for the file's name. bad_file for bytes that are no protobuf, groups, a field of
/// ours in another wire type, an empty piece, a score that is not finite, an unknown type, and for
/// models other than BPE, which GGUF has no place for.
/// Fields that are not in sentencepiece_model are skipped.
[[nodiscard]] sentencepiece_model parse_sentencepiece(std::span<const std::byte> bytes,
                                                      std::string_view place);

/// The same for a file; io_error if it cannot be read.
[[nodiscard]] sentencepiece_model read_sentencepiece(const std::filesystem::path& path);

namespace io::detail {

enum class wire : std::uint32_t { varint = 0, fixed64 = 1, bytes = 2, fixed32 = 5 };

struct protobuf_field {
  std::uint64_t at; // byte of its tag
  std::uint32_t number;
  wire type;
};

inline std::uint64_t read_varint(byte_reader& reader) {
  const auto at = reader.offset();
  std::uint64_t value = 0;
  for (unsigned shift = 0; shift < 70; shift += 7) {
    const std::uint64_t byte = reader.read<std::uint8_t>("a varint");
    if (shift == 63 && byte > 1) break;
    value |= (byte & 127) << shift;
    if (byte < 128) return value;
  }
  reader.refuse(at, "a varint of more than 64 bits");
}

inline protobuf_field read_field(byte_reader& reader) {
  const auto at = reader.offset();
  const auto tag = read_varint(reader);
  if (tag >> 32 != 0 || tag >> 3 == 0) reader.refuse(at, "no protobuf tag");
  const auto type = static_cast<std::uint32_t>(tag & 7);
  if (type > 2 && type != 5) reader.refuse(at, "protobuf wire type " + std::to_string(type));
  return {at, static_cast<std::uint32_t>(tag >> 3), static_cast<wire>(type)};
}

inline void require_wire(const byte_reader& reader, const protobuf_field& field, wire type,
                         std::string_view what) {
  if (field.type != type)
    reader.refuse(field.at, std::string(what) + " in wire type " +
                                std::to_string(static_cast<std::uint32_t>(field.type)));
}

/// The bytes of a string or message, and a reader of them that knows where they lie.
inline std::span<const std::byte> read_delimited(byte_reader& reader, std::string_view what) {
  return reader.read_bytes(read_varint(reader), what);
}
inline byte_reader read_message(byte_reader& reader, std::string_view what) {
  const auto bytes = read_delimited(reader, what);
  return byte_reader(bytes, reader.place(), reader.offset() - bytes.size());
}

inline void skip_field(byte_reader& reader, const protobuf_field& field) {
  switch (field.type) {
  case wire::varint:
    (void)read_varint(reader);
    break;
  case wire::fixed64:
    reader.read_bytes(8, "a field");
    break;
  case wire::bytes:
    read_delimited(reader, "a field");
    break;
  case wire::fixed32:
    reader.read_bytes(4, "a field");
    break;
  }
}

inline sentencepiece_model::piece parse_piece(byte_reader reader) {
  sentencepiece_model::piece piece;
  const auto at = reader.offset();
  while (reader.remaining() != 0) {
    const auto field = read_field(reader);
    if (field.number == 1) {
      require_wire(reader, field, wire::bytes, "a piece's text");
      piece.text = as_text(read_delimited(reader, "a piece's text"));
    } else if (field.number == 2) {
      require_wire(reader, field, wire::fixed32, "a piece's score");
      piece.score = reader.read<float>("a piece's score");
      if (!is_finite(piece.score)) reader.refuse(field.at, "a score that is not finite");
    } else if (field.number == 3) {
      require_wire(reader, field, wire::varint, "a piece's type");
      const auto type = read_varint(reader);
      if (type < 1 || type > 6) reader.refuse(field.at, "piece type " + std::to_string(type));
      piece.type = static_cast<std::int32_t>(type);
    } else {
      skip_field(reader, field);
    }
  }
  if (piece.text.empty()) reader.refuse(at, "a piece without text");
  return piece;
}

/// TrainerSpec.model_type: 1 unigram, 2 BPE, 3 words, 4 characters.
inline void require_bpe(byte_reader reader) {
  while (reader.remaining() != 0) {
    const auto field = read_field(reader);
    if (field.number != 3) {
      skip_field(reader, field);
      continue;
    }
    require_wire(reader, field, wire::varint, "model_type");
    const auto type = read_varint(reader);
    if (type != 2)
      reader.refuse(field.at,
                    "model_type " + std::to_string(type) + " is not supported; BPE, 2, is");
  }
}

inline void parse_normalizer(byte_reader reader, sentencepiece_model& model) {
  while (reader.remaining() != 0) {
    const auto field = read_field(reader);
    if (field.number == 2) {
      require_wire(reader, field, wire::bytes, "precompiled_charsmap");
      if (!read_delimited(reader, "precompiled_charsmap").empty())
        model.notes.push_back("normalizes characters; engines of GGUF take a text as it is");
    } else if (field.number == 3) {
      require_wire(reader, field, wire::varint, "add_dummy_prefix");
      model.add_dummy_prefix = read_varint(reader) != 0;
    } else if (field.number == 4) {
      require_wire(reader, field, wire::varint, "remove_extra_whitespaces");
      if (read_varint(reader) != 0)
        model.notes.push_back("removes extra spaces; engines of GGUF keep them");
    } else if (field.number == 5) {
      require_wire(reader, field, wire::varint, "escape_whitespaces");
      if (read_varint(reader) == 0)
        reader.refuse(field.at, "escape_whitespaces is false, which GGUF has no key for");
    } else {
      skip_field(reader, field);
    }
  }
}

} // namespace io::detail

inline sentencepiece_model parse_sentencepiece(std::span<const std::byte> bytes,
                                               std::string_view place) {
  byte_reader reader(bytes, place);
  sentencepiece_model model;
  while (reader.remaining() != 0) {
    const auto field = io::detail::read_field(reader);
    if (field.number == 1) {
      io::detail::require_wire(reader, field, io::detail::wire::bytes, "a piece");
      model.pieces.push_back(io::detail::parse_piece(io::detail::read_message(reader, "a piece")));
    } else if (field.number == 2) {
      io::detail::require_wire(reader, field, io::detail::wire::bytes, "the trainer's options");
      io::detail::require_bpe(io::detail::read_message(reader, "the trainer's options"));
    } else if (field.number == 3) {
      io::detail::require_wire(reader, field, io::detail::wire::bytes, "the normalizer");
      io::detail::parse_normalizer(io::detail::read_message(reader, "the normalizer"), model);
    } else {
      io::detail::skip_field(reader, field);
    }
  }
  if (model.pieces.empty()) reader.refuse(reader.offset(), "no pieces");
  return model;
}

inline sentencepiece_model read_sentencepiece(const std::filesystem::path& path) {
  const mapped_file file(path);
  return parse_sentencepiece(file.bytes(), place_of(path));
}

} // namespace edgequant::inline EDGEQUANT_ABI
