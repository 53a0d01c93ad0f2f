// SPDX-License-Identifier: MIT
#include "support.hpp"

#include <edgequant/io/sentencepiece.hpp>

#include <cstring>

namespace {
using namespace io_test;
using namespace std::string_literals;

/// A length-delimited field; `text` is shorter than 128 bytes.
std::string field(int number, const std::string& text) {
  return std::string{static_cast<char>(number << 3 | 2), static_cast<char>(text.size())} + text;
}
std::string score(float value) {
  std::string out(5, '\x15');
  std::memcpy(out.data() + 1, &value, 4);
  return out;
}
std::string piece(const std::string& parts) { return field(1, parts); }

const std::string a = field(1, "a");

std::string refusal(const std::string& text) {
  const auto message =
      message_of([&] { return eq::parse_sentencepiece(bytes_of(text), "t.model"); });
  EXPECT_TRUE(is_one_line(message)) << message;
  return message;
}

TEST(sentencepiece, reads_pieces_with_their_defaults) {
  const auto model = eq::parse_sentencepiece(
      bytes_of(piece(a) + piece(field(1, "\xe2\x96\x81x") + score(-2.5f) + "\x18\x06")), "t.model");
  ASSERT_EQ(model.pieces.size(), 2u);
  EXPECT_EQ(model.pieces[0].text, "a");
  EXPECT_EQ(model.pieces[0].score, 0.0f);
  EXPECT_EQ(model.pieces[0].type, 1);
  EXPECT_EQ(model.pieces[1].text, "\xe2\x96\x81x");
  EXPECT_EQ(model.pieces[1].score, -2.5f);
  EXPECT_EQ(model.pieces[1].type, 6);
  EXPECT_TRUE(model.add_dummy_prefix);
}

TEST(sentencepiece, skips_fields_of_other_numbers_by_wire_type) {
  const std::string others =
      "\x20\xff\x01"s + "\x29"s + "12345678" + field(6, "xyz") + "\x3d" + "1234" + "\x80\x7d\x05";
  const auto model = eq::parse_sentencepiece(
      bytes_of(others + piece(others + a + others) + field(3, field(6, "xyz") + "\x18\x00"s)),
      "t.model");
  ASSERT_EQ(model.pieces.size(), 1u);
  EXPECT_EQ(model.pieces[0].text, "a");
  EXPECT_FALSE(model.add_dummy_prefix);
}

// TrainerSpec is field 2, its model_type 3; of NormalizerSpec 2 is the table of characters, 4
// removes spaces, 5 spells them as U+2581.
TEST(sentencepiece, what_gguf_cannot_say_is_refused_or_noted) {
  const auto notes = [](const std::string& more) {
    return eq::parse_sentencepiece(bytes_of(piece(a) + more), "t.model").notes.size();
  };
  EXPECT_EQ(notes(field(2, "\x18\x02") + field(3, "\x18\x01\x20\x00"s)), 0u);
  EXPECT_EQ(notes(field(3, "\x20\x01")), 1u);
  EXPECT_EQ(notes(field(3, field(2, "table") + "\x20\x01")), 2u);
  for (const char type : {'\1', '\3', '\4'})
    EXPECT_NE(refusal(piece(a) + field(2, "\x18"s + type)).find("model_type"), std::string::npos);
  EXPECT_NE(refusal(piece(a) + field(3, "\x28\x00"s)).find("escape_whitespaces"),
            std::string::npos);
}

TEST(sentencepiece, refuses) {
  const std::string t = "t.model at byte ";
  EXPECT_EQ(refusal(""), t + "0: no pieces");
  EXPECT_EQ(refusal(field(4, "x")), t + "3: no pieces");
  EXPECT_EQ(refusal(piece("")), t + "2: a piece without text");
  EXPECT_EQ(refusal(piece(a + "\x18\x00"s)), t + "5: piece type 0");
  EXPECT_EQ(refusal(piece(a + "\x18\x07")), t + "5: piece type 7");
  EXPECT_EQ(refusal(piece(a + "\x18\x81\x80\x80\x80\x10")), t + "5: piece type 4294967297");
  EXPECT_EQ(refusal(piece(a + score(std::numeric_limits<float>::infinity()))),
            t + "5: a score that is not finite");
  EXPECT_EQ(refusal(piece(a + score(std::numeric_limits<float>::quiet_NaN()))),
            t + "5: a score that is not finite");
  EXPECT_EQ(refusal("\x0b"), t + "0: protobuf wire type 3");
  EXPECT_EQ(refusal("\x0c"), t + "0: protobuf wire type 4");
  EXPECT_EQ(refusal("\x0e"), t + "0: protobuf wire type 6");
  EXPECT_EQ(refusal("\x02"), t + "0: no protobuf tag");
  EXPECT_EQ(refusal("\x82\x80\x80\x80\x10"), t + "0: no protobuf tag");
  EXPECT_EQ(refusal("\x08\x01"), t + "0: a piece in wire type 0");
  EXPECT_EQ(refusal("\x18\x01"), t + "0: the normalizer in wire type 0");
  EXPECT_EQ(refusal(piece("\x08\x01")), t + "2: a piece's text in wire type 0");
  EXPECT_EQ(refusal(piece("\x10\x01")), t + "2: a piece's score in wire type 0");
  EXPECT_EQ(refusal(piece(field(3, "x"))), t + "2: a piece's type in wire type 2");
  EXPECT_EQ(refusal(field(3, field(3, "x"))), t + "2: add_dummy_prefix in wire type 2");
}

TEST(sentencepiece, refuses_lengths_and_varints_beyond_their_bounds) {
  const std::string t = "t.model at byte ";
  EXPECT_EQ(refusal("\x0a\x05"
                    "abc"),
            t + "2: a piece needs 5 bytes, 3 left");
  // The inner text claims a byte more than its piece has, though the file has it.
  EXPECT_EQ(refusal("\x0a\x03\x0a\x02"
                    "abcd"),
            t + "4: a piece's text needs 2 bytes, 1 left");
  const std::string nine(9, '\xff');
  EXPECT_EQ(refusal("\x20" + nine + "\x01"), t + "11: no pieces"); // 64 bits, all ones: fine
  EXPECT_EQ(refusal("\x20" + nine + "\x02"), t + "1: a varint of more than 64 bits");
  EXPECT_EQ(refusal("\x20" + nine + "\x80\x00"s), t + "1: a varint of more than 64 bits");
  EXPECT_EQ(refusal("\x0a" + nine + "\x01"),
            t + "11: a piece needs 18446744073709551615 bytes, 0 left");
  EXPECT_EQ(refusal("\x20\xff"), t + "2: a varint needs 1 byte, 0 left");
}

TEST(sentencepiece, truncated_and_changed_bytes_are_read_or_refused) {
  const auto valid = bytes_of(piece(a + score(1)) + piece(field(1, "bc") + "\x18\x03") +
                              field(3, "\x18\x01") + "\x20\x05");
  int refused = 0;
  for (std::size_t n = 0; n < valid.size(); ++n) {
    const bytes cut(valid.begin(), valid.begin() + static_cast<std::ptrdiff_t>(n));
    refused += !message_of([&] { return eq::parse_sentencepiece(cut, "t.model"); }).empty();
  }
  EXPECT_EQ(refused, static_cast<int>(valid.size()) - 3); // whole after each field from the first
  mutate(valid, 20000, [](const bytes& b) { return eq::parse_sentencepiece(b, "t.model"); });
}

TEST(sentencepiece, the_shared_model_is_read) {
  const auto path = shared_data("models/stories-2m/tokenizer.model");
  SKIP_WITHOUT(path);
  const auto model = eq::read_sentencepiece(path);
  ASSERT_EQ(model.pieces.size(), 1024u);
  EXPECT_EQ(model.pieces[0].type, 2);
  EXPECT_EQ(model.pieces[1].text, "<s>");
  EXPECT_EQ(model.pieces[1].type, 3);
  int byte_pieces = 0;
  for (const auto& item : model.pieces) byte_pieces += item.type == 6;
  EXPECT_TRUE(byte_pieces == 0 || byte_pieces == 256);
}
} // namespace
