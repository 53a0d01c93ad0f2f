// SPDX-License-Identifier: MIT
#include "io/support.hpp"

#include <edgequant/system/separate_files.hpp>

namespace {
using namespace io_test;
namespace fs = std::filesystem;
using outputs = std::vector<eq::named_output>;
using inputs = std::vector<fs::path>;

class separate_files : public testing::Test {
protected:
  separate_files() {
    fs::create_directories(folder / "ck/sub");
    fs::create_directory(folder / "x");
    for (const char* name : {"ck/model-00001-of-00002.safetensors", "ck/sub/tokenizer.json",
                             "ck/model.safetensors.index.json", "text.txt", "model.gguf"})
      write_all(folder / name, name);
  }
  /// The message that `path`, for --report, is refused with.
  std::string refused(const fs::path& path, const inputs& in) {
    return message_of([&] {
      return eq::require_separate_files(outputs{{"--report", path}}, in), 0;
    });
  }
  temporary_folder folder;
};

TEST_F(separate_files, names_the_option_and_both_files) {
  const auto text = folder / "text.txt";
  EXPECT_EQ(refused(text, {folder / "ck", text}),
            "--report " + text.string() + ": needs a file of its own, this is also the input " +
                text.string());
  EXPECT_EQ(refused(folder / "new.json", {folder / "ck", text}), "");
}

TEST_F(separate_files, sees_through_links_and_spellings) {
  const inputs in{folder / "text.txt"};
  fs::create_symlink("text.txt", folder / "link");
  fs::create_symlink("link", folder / "link2");
  fs::create_hard_link(folder / "text.txt", folder / "hard");
  fs::create_symlink(folder.path, folder / "x/back");
  for (const char* same :
       {"link", "link2", "hard", "x/../text.txt", "./text.txt", "x/back/text.txt"})
    EXPECT_NE(refused(folder / same, in), "") << same;
  EXPECT_NE(refused(folder / "text.txt", {folder / "link2"}), "");
  fs::copy_file(folder / "text.txt", folder / "copy");
  EXPECT_EQ(refused(folder / "copy", in), "");
}

TEST_F(separate_files, a_folder_stands_for_the_files_in_it) {
  const inputs in{folder / "ck"};
  for (const char* part : {"ck/model-00001-of-00002.safetensors", "ck/model.safetensors.index.json",
                           "ck/sub/tokenizer.json", "ck", "ck/."})
    EXPECT_NE(refused(folder / part, in), "") << part;
  EXPECT_EQ(refused(folder / "ck/new.gguf", in), "");
  // As in a cache of checkpoints, whose files are links to files elsewhere.
  write_all(folder / "x/blob", "weights");
  fs::create_symlink("../x/blob", folder / "ck/model-00002-of-00002.safetensors");
  EXPECT_NE(refused(folder / "x/blob", in), "");
  EXPECT_NE(refused(folder / "ck/model-00002-of-00002.safetensors", {folder / "x"}), "");
}

TEST_F(separate_files, outputs_are_held_against_each_other) {
  const auto both = [&](const fs::path& a, const fs::path& b) {
    return message_of([&] {
      eq::require_separate_files(outputs{{"OUT", a}, {"--plan", ""}, {"--report", b}}, {});
      return 0;
    });
  };
  const auto in = (folder.path / "").string();
  EXPECT_EQ(both(folder / "new", folder / "x/../new"),
            "--report " + in + "x/../new: needs a file of its own, this is also that of OUT");
  EXPECT_NE(both(folder / "new", folder / "./new"), "");
  fs::create_symlink("new", folder / "dangling");
  EXPECT_NE(both(folder / "new", folder / "dangling"), "");
  fs::create_symlink(folder.path, folder / "x/back");
  EXPECT_NE(both(folder / "new", folder / "x/back/new"), "");
  EXPECT_NE(both(folder / "text.txt", folder / "text.txt"), "");
  EXPECT_NE(both(folder / "ck", folder / "ck/sub/tokenizer.json"), "");
  EXPECT_NE(both(folder / "ck/sub/tokenizer.json", folder / "ck"), "");
  EXPECT_EQ(both(folder / "new", folder / "new2"), "");
  EXPECT_EQ(both(folder / "new", folder / "text.txt"), "");
  const auto before = fs::current_path();
  fs::current_path(folder.path);
  EXPECT_NE(both("new", folder / "new"), "");
  EXPECT_NE(both("new", "./new"), "");
  fs::current_path(before);
}

TEST_F(separate_files, an_output_may_replace_the_one_input_that_it_names) {
  const auto model = folder / "model.gguf";
  fs::create_hard_link(model, folder / "same.gguf");
  const auto check = [&](const eq::named_output& out, const inputs& in) {
    return message_of([&] { return eq::require_separate_files(outputs{out}, in), 0; });
  };
  EXPECT_EQ(check({"OUT", model, model}, {model, folder / "text.txt"}), "");
  EXPECT_EQ(check({"OUT", folder / "same.gguf", model}, {model}), "");
  EXPECT_NE(check({"OUT", folder / "text.txt", model}, {model, folder / "text.txt"}), "");
  EXPECT_NE(check({"OUT", model, model}, {model, folder / "same.gguf"}), ""); // another option's
  EXPECT_NE(check({"OUT", folder / "ck", folder / "ck"}, {folder / "ck"}), "");
}

TEST_F(separate_files, an_output_folder_that_holds_an_input_is_refused) {
  EXPECT_NE(refused(folder / "ck", {folder / "ck/model-00001-of-00002.safetensors"}), "");
  EXPECT_EQ(refused(folder / "x", {folder / "ck/model-00001-of-00002.safetensors"}), "");
}

TEST_F(separate_files, what_is_not_there_is_no_mistake) {
  EXPECT_EQ(refused("", {folder / "text.txt"}), "");
  EXPECT_EQ(refused(folder / "new", {"", folder / "missing"}), "");
  EXPECT_NE(refused(folder / "missing", {folder / "x/../missing"}), ""); // it would be made
}
} // namespace
