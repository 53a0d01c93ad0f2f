// SPDX-License-Identifier: MIT
#include "io/split_parts.hpp"

namespace {
using namespace io_test;

class split_gguf : public testing::Test {
protected:
  temporary_folder folder;
  eq::gguf_file model;

  split_gguf() {
    model.metadata.set("general.architecture", "llama");
    model.metadata.set("llama.block_count", 3u);
    for (const char* name : {"a", "b", "c", "d"}) {
      bytes data(128, static_cast<std::byte>(name[0]));
      model.tensors.push_back(eq::make_tensor(name, {32}, eq::format::f32, data));
    }
  }
  static std::size_t part_of(const std::string& name) {
    return name == "a" ? 0 : name == "d" ? 2 : 1;
  }
  std::filesystem::path write(const part_change& change = {}) {
    return write_parts(folder.path, model, 3, part_of, change);
  }
  /// Behind the folder's name.
  std::string refusal(const std::filesystem::path& path) {
    const auto message = message_of([&] { return eq::read_model_gguf(path); });
    EXPECT_TRUE(is_one_line(message)) << message;
    const auto before = folder.path.string().size() + 1;
    return message.substr(std::min(before, message.size()));
  }
  std::string refusal_of(const part_change& change) { return refusal(write(change)); }
};

TEST_F(split_gguf, parts_are_joined_in_order) {
  const auto whole = eq::read_model_gguf(write());
  EXPECT_EQ(whole.metadata, model.metadata); // without split.*
  ASSERT_EQ(whole.tensors.size(), 4u);
  std::uint64_t size = 0;
  for (std::size_t p = 0; p < 3; ++p) size += std::filesystem::file_size(folder / part_name(p, 3));
  EXPECT_EQ(whole.file_bytes, size);
  for (std::size_t i = 0; i < 4; ++i) {
    const auto& t = whole.tensors[i];
    EXPECT_EQ(t.name, model.tensors[i].name);
    EXPECT_TRUE(std::ranges::equal(t.data, model.tensors[i].data));
    const auto mapped = t.file->bytes();
    EXPECT_TRUE(t.data.data() >= mapped.data() &&
                t.data.data() + t.data.size() <= mapped.data() + mapped.size());
  }
}

TEST_F(split_gguf, the_first_part_may_hold_keys_alone) {
  const auto path =
      write_parts(folder.path, model, 2, [](const std::string&) { return std::size_t{1}; });
  EXPECT_EQ(eq::read_model_gguf(path).tensors.size(), 4u);
}

TEST_F(split_gguf, a_file_that_is_not_split_is_read_alone) {
  for (const std::uint16_t count :
       {std::uint16_t{0}, std::uint16_t{1}}) { // gguf-split writes 0 where it has merged parts
    model.metadata.set("split.count", count);
    eq::gguf_writer(folder / "m", model.metadata, {}).finish();
    EXPECT_EQ(eq::read_model_gguf(folder / "m").metadata, model.metadata);
    EXPECT_NO_THROW(eq::refuse_split_part(model.metadata));
  }
  model.metadata.set("split.tensors.count", 2);
  eq::gguf_writer(folder / "m", model.metadata, {}).finish();
  EXPECT_EQ(refusal(folder / "m"), "m: 0 tensors where split.tensors.count says 2");
}

TEST_F(split_gguf, files_that_do_not_lead_to_the_others_are_refused) {
  const auto first = write();
  EXPECT_EQ(refusal(folder / part_name(1, 3)),
            part_name(1, 3) +
                ": part 2 of 3 of a split model: open the first part, '...-00001-of-00003.gguf', "
                "instead");
  std::filesystem::copy_file(first, folder / "renamed.gguf");
  EXPECT_EQ(refusal(folder / "renamed.gguf"),
            "renamed.gguf: part 1 of 3 of a split model, but its name does not end in "
            "'-00001-of-00003.gguf': the other parts cannot be found");
  std::filesystem::remove(folder / part_name(2, 3));
  EXPECT_EQ(refusal(first), part_name(0, 3) + ": part 1 of 3 of a split model: part 3, '" +
                                part_name(2, 3) + "', is missing");
  EXPECT_EQ(message_of([&] {
              eq::refuse_split_part(eq::read_gguf(first).metadata);
              return 0;
            }),
            first.string() + ": part 1 of 3 of a split model, without the others");
}

TEST_F(split_gguf, parts_of_other_models_are_refused) {
  const auto first = part_name(0, 3) + ": ", second = part_name(1, 3) + ": ";
  EXPECT_EQ(refusal_of([](auto p, auto& keys, auto&) {
              if (p == 1) keys.set("split.no", std::uint16_t{2}); // in the place of another
            }),
            second + "its split.no and split.count are not those of part 2 of 3 of a split model");
  EXPECT_EQ(refusal_of([](auto p, auto& keys, auto&) {
              if (p == 1) keys.set("split.count", std::uint16_t{4});
            }),
            second + "its split.no and split.count are not those of part 2 of 3 of a split model");
  EXPECT_EQ(refusal_of([](auto p, auto& keys, auto&) {
              if (p == 1) keys.set("split.tensors.count", 9);
            }),
            second + "part 2 of 3 of a split model, but of another one: split.tensors.count is 9, "
                     "the first part's 4");
  EXPECT_EQ(refusal_of([&](auto p, auto&, auto& tensors) {
              if (p == 1) tensors.push_back(model.tensors[0]);
            }),
            second + "tensor 'a': part 2 of 3 of a split model, and an earlier part has this "
                     "tensor too");
  EXPECT_EQ(refusal_of([&](auto p, auto&, auto& tensors) {
              if (p == 1) tensors.pop_back();
            }),
            first + "3 tensors where split.tensors.count says 4");
  EXPECT_EQ(refusal_of([&](auto p, auto& keys, auto&) {
              if (p == 1) keys.set("llama.block_count", 2u);
            }),
            second + "key 'llama.block_count': part 2 of 3 of a split model, and the first part "
                     "does not say the same");
}

TEST_F(split_gguf, keys_that_do_not_place_a_part_are_refused) {
  const auto first = part_name(0, 3) + ": ";
  for (const char* key : {"split.no", "split.tensors.count"})
    EXPECT_EQ(refusal_of([&](auto, auto& keys, auto&) { keys.erase(key); }),
              first + "one of 3 parts of a split model, without the key '" + key + "'");
  EXPECT_EQ(refusal_of([](auto, auto& keys, auto&) { keys.set("split.no", std::uint16_t{3}); }),
            first + "split.no is 3 where split.count is 3");
  EXPECT_EQ(refusal_of([](auto p, auto& keys, auto&) {
              if (p == 0) keys.erase("split.count"), keys.set("split.no", std::uint16_t{1});
            }),
            first + "split.no is 1 where split.count is 0");
}

} // namespace
