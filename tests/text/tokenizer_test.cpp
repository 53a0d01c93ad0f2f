// SPDX-License-Identifier: MIT
#include "text/words.hpp"

#include <memory>

namespace {
using namespace model_test;
using type = eq::token_type;

TEST(tokenizer, pieces_merge_by_score_and_from_the_left) {
  auto w = pieces();
  const auto space = w.add(mark, type::normal, -9), a = w.add("a", type::normal, -9);
  const auto b = w.add("b", type::normal, -9), ab = w.add("ab", type::normal, -3);
  const auto ba = w.add("ba", type::normal, -2), aa = w.add("aa", type::normal, -3);
  const auto space_a = w.add(std::string(mark) + "a", type::normal, -5);
  const auto spaces = w.add(std::string(mark) + mark, type::normal, -4);
  const eq::tokenizer t(w.keys());
  EXPECT_EQ(t.encode(""), ids{});
  EXPECT_EQ(t.encode("a"), ids{space_a});
  EXPECT_EQ(t.encode("ab"), (ids{space, ab}));
  EXPECT_EQ(t.encode("aba"), (ids{space_a, ba}));
  EXPECT_EQ(t.encode("aaa"), (ids{space, aa, a})); // a tie: the leftmost
  EXPECT_EQ(t.encode("aab"), (ids{space, aa, b})); // of other tokens too
  EXPECT_EQ(t.encode(" b"), (ids{spaces, b}));
  EXPECT_EQ(t.encode("b  a "), (ids{space, b, spaces, a, space}));
  EXPECT_EQ(t.decode(ids{space_a, ba}), "aba");
  EXPECT_EQ(t.decode(ids{spaces, b}), " b");
  EXPECT_EQ(t.bytes_of(space_a), " a");
}

TEST(tokenizer, characters_without_a_piece_are_bytes) {
  auto w = pieces();
  const auto space = w.add(mark), e = w.add("\xc3\xa9");
  const eq::tokenizer t(w.keys());
  EXPECT_EQ(t.encode("\xc3\xa9\xc3\xaf"), (ids{space, e, byte_token(0xc3), byte_token(0xaf)}));
  EXPECT_EQ(t.encode("\n"), (ids{space, byte_token('\n')}));
  EXPECT_EQ(t.encode("\xc3 \xc3"), (ids{space, byte_token(0xc3), space, byte_token(0xc3)}));
  EXPECT_EQ(t.bytes_of(byte_token(0xc3)), "\xc3");
  EXPECT_EQ(t.encode("<s>"), (ids{space, byte_token('<'), byte_token('s'), byte_token('>')}));
}

TEST(tokenizer, bytes_without_a_token) {
  words w{"llama", {}, {}, {}, {}};
  const auto unknown = w.add("?", type::unknown), space = w.add(mark), x = w.add("x");
  const auto raw = w.add("\xc3"); // a byte itself
  const eq::tokenizer t(w.keys());
  EXPECT_EQ(t.encode("xy\xc3\xa9"), (ids{space, x, unknown, raw, unknown}));
  EXPECT_EQ(t.bytes_of(unknown), "");
}

TEST(tokenizer, user_defined_tokens_are_found_in_the_text) {
  auto w = pieces();
  const auto space = w.add(mark), a = w.add("a"), space_a = w.add(std::string(mark) + "a");
  const auto x = w.add("<x>", type::user_defined), xy = w.add("<x>y", type::user_defined);
  const auto blank = w.add(" - ", type::user_defined);
  w.add("<c>", type::control);
  auto keys = w.keys();
  const eq::tokenizer t(keys);
  EXPECT_EQ(t.encode("<x>"), ids{x});
  EXPECT_EQ(t.encode("a<x>ya<x>a"), (ids{space_a, xy, space_a, x, space_a}));
  EXPECT_EQ(t.encode("a - a"), (ids{space_a, blank, space_a}));
  EXPECT_EQ(t.encode("a <x>"), (ids{space_a, space, x}));
  for (const auto* text : {"<x>", "a<x>ya<x> a", "a - a", " <x>  <x> ", "<c>a"})
    EXPECT_EQ(t.decode(t.encode(text)), text);
  keys.set("tokenizer.ggml.add_space_prefix", false);
  const eq::tokenizer bare(keys);
  EXPECT_EQ(bare.encode("a<x>a a"), (ids{a, x, a, space_a}));
  EXPECT_EQ(bare.decode(bare.encode(" a<x> a")), " a<x> a");
}

TEST(tokenizer, merges_apply_by_rank_and_from_the_left) {
  auto w = byte_level({"b c", "a b", "a a", "\xc4\xa0 a", "ab c",
                       "\xc4\xa0"
                       "a a"}); // U+0120: space
  w.add("bca");
  const eq::tokenizer t(w.keys());
  EXPECT_EQ(t.encode(""), ids{});
  EXPECT_EQ(t.encode("ab"), ids{257});
  EXPECT_EQ(t.encode("abc"), (ids{'a', 256}));
  EXPECT_EQ(t.encode("aaa"), (ids{258, 'a'}));
  EXPECT_EQ(t.encode(" aa"), (ids{' ', 258}));
  EXPECT_EQ(t.encode(" a"), ids{259});
  EXPECT_EQ(t.encode("bca"), (ids{256, 'a'})); // a token, but of no merge
  EXPECT_EQ(t.encode("\xff\xc3"), (ids{0xff, 0xc3}));
  EXPECT_EQ(t.decode(ids{259, 0xe4, 0xb8, 0xad}), " a\xe4\xb8\xad");
  EXPECT_FALSE(t.add_bos());
  const eq::tokenizer llama(w.keys("llama-bpe"));
  EXPECT_EQ(llama.encode("bca"), ids{262}); // a token is taken whole
  EXPECT_TRUE(llama.add_bos());
}

TEST(tokenizer, a_merge_counts_where_it_stands_first) {
  auto w = byte_level({"a b", "b c"});
  w.merges.push_back("a b");
  EXPECT_EQ(eq::tokenizer(w.keys()).encode("abc"), (ids{256, 'c'}));
}

TEST(tokenizer, the_pre_tokenizer_keeps_merges_apart) {
  const auto w = byte_level({"1 2", "12 3", "a 1", "a !"});
  EXPECT_EQ(eq::tokenizer(w.keys("gpt-2")).encode("a1231a!"), (ids{'a', 257, '1', 'a', '!'}));
  EXPECT_EQ(eq::tokenizer(w.keys("llama-bpe")).encode("12312"), (ids{257, 256}));
  EXPECT_EQ(eq::tokenizer(w.keys("qwen2")).encode("123"), (ids{'1', '2', '3'}));
}

TEST(tokenizer, byte_level_special_tokens) {
  auto w = byte_level({"a b"});
  const auto x = w.add("<x >", type::user_defined);
  w.add("<c>", type::control);
  const eq::tokenizer t(w.keys("qwen2"));
  EXPECT_EQ(t.encode("ab<x >ab"), (ids{256, x, 256}));
  EXPECT_EQ(t.encode("<c>"), (ids{'<', 'c', '>'}));
  EXPECT_EQ(t.bytes_of(x), "<x >");
  EXPECT_EQ(t.bytes_of(x + 1), "");
  EXPECT_EQ(t.decode(ids{' ', x, ' ', 'a'}), " <x > a");
}

TEST(tokenizer, texts_come_back) {
  auto w = pieces();
  w.add(mark);
  w.add("a");
  w.add(std::string(mark) + "a", type::normal, 1);
  const auto b = byte_level({"a a", "\xc4\xa0 a", "\xc3\xa4 \xc2\xb8"});
  std::vector<eq::tokenizer> all;
  all.emplace_back(w.keys());
  for (const auto* pre : {"gpt-2", "llama-bpe", "qwen2", "smollm", "default"})
    all.emplace_back(b.keys(pre));
  std::uint32_t state = 7;
  for (int round = 0; round < 3000; ++round) {
    std::string text;
    for (int i = 0; i < round % 20; ++i) {
      state = state * 1664525u + 1013904223u;
      constexpr std::string_view pool("aa  \n1'!\xe4\xb8\xad\xff\xc3\xe2\0", 16);
      text += pool[(state >> 20) % pool.size()];
    }
    for (const auto& t : all) {
      const auto tokens = t.encode(text);
      ASSERT_EQ(t.decode(tokens), text);
      eq::stream_decoder stream(t);
      std::string streamed, whole;
      for (const auto token : tokens) {
        streamed += stream.push(token);
        whole += t.bytes_of(token);
        ASSERT_EQ(streamed, whole.substr(0, whole.size() - eq::unfinished_bytes(whole)));
      }
      ASSERT_EQ(streamed + stream.finish(), whole);
    }
  }
}

TEST(tokenizer, a_stream_keeps_unfinished_characters) {
  const eq::tokenizer t(byte_level({}).keys());
  eq::stream_decoder stream(t);
  EXPECT_EQ(stream.push('a'), "a");
  EXPECT_EQ(stream.push(0xf0), "");
  EXPECT_EQ(stream.push(0x9f), "");
  EXPECT_EQ(stream.push(0x98), "");
  EXPECT_EQ(stream.push(0x80), "\xf0\x9f\x98\x80");
  EXPECT_EQ(stream.push(0xe4), "");
  EXPECT_EQ(stream.push('b'), "\xe4"
                              "b"); // it never was one
  EXPECT_EQ(stream.push(0xff), "\xff");
  EXPECT_EQ(stream.push(0xc3), "");
  EXPECT_EQ(stream.finish(), "\xc3");
  EXPECT_EQ(stream.finish(), "");
}

TEST(tokenizer, ids_of_no_token) {
  const eq::tokenizer t(pieces().keys());
  EXPECT_EQ(t.size(), 259u);
  for (const std::int32_t id : {-1, 259, 0x7fffffff}) {
    const std::string message = "token " + std::to_string(id) + ": the vocabulary has 259 tokens";
    EXPECT_EQ(message_of([&] { return t.bytes_of(id); }), message);
    EXPECT_EQ(message_of([&] { return t.decode(ids{1, id}); }), message);
    EXPECT_EQ(message_of([&] { return t.ends_text(id); }), message);
  }
}

TEST(tokenizer, a_copy_lives_alone) {
  auto first = std::make_unique<eq::tokenizer>(byte_level({"a b"}).keys());
  const eq::tokenizer second = *first;
  first.reset();
  EXPECT_EQ(second.encode("abab"), (ids{256, 256}));
}

TEST(tokenizer, long_lines_without_spaces) { // quadratic would take minutes
  auto w = pieces();
  std::string piece = "a";
  for (int i = 0; i < 7; ++i, piece += piece) w.add(piece, type::normal, static_cast<float>(i));
  const eq::tokenizer llama(w.keys()), gpt2(byte_level({"a a", "aa aa"}).keys("llama-bpe"));
  const std::string line(1 << 18, 'a');
  EXPECT_EQ(llama.encode(line).size(), 3u + (1 << 12));
  EXPECT_EQ(gpt2.encode(line).size(), 1u << 16);
  EXPECT_EQ(gpt2.encode(std::string(1 << 18, ' ')).size(), 1u << 18);
}
} // namespace
