// SPDX-License-Identifier: MIT
/// Tensors whose bytes are ready before the file is written; in memory, or in a folder that a later
/// run of the same job goes on from.
#pragma once

#include "../format/format.hpp"
#include "../io/output_file.hpp"

#include <map>
#include <optional>

namespace edgequant::inline EDGEQUANT_ABI {

/// Bytes of finished tensors by name.
class encoded_tensors {
public:
  struct tensor {
    format type = format::f32;
    std::vector<std::byte> bytes; ///< rows one after the other, as in the file
  };

  /// Keeps everything in memory.
  encoded_tensors() = default;
  /// Also writes each tensor to a file in `folder`, which is made if it is not there, and begins
  /// with those that a job of the same `key` left there. bad_argument if the folder belongs to a
  /// job with another key: different input, options or text would be mixed. A file that is not
  /// complete does not count.
  encoded_tensors(std::filesystem::path folder, std::string_view key);

  [[nodiscard]] const tensor* find(std::string_view name) const {
    const auto found = all_.find(name);
    return found == all_.end() ? nullptr : &found->second;
  }
  void put(const std::string& name, tensor t);
  [[nodiscard]] std::size_t size() const noexcept { return all_.size(); }

private:
  /// Letters, digits, '.', '_' and '-' stay; other bytes become %XX.
  [[nodiscard]] static std::string file_name(std::string_view name);
  void read_back(const std::filesystem::path& file);

  std::map<std::string, tensor, std::less<>> all_;
  std::optional<std::filesystem::path> folder_;
};

namespace detail {

inline std::string read_small_file(const std::filesystem::path& path) {
  const mapped_file file(path);
  const auto bytes = file.bytes();
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

} // namespace detail

inline encoded_tensors::encoded_tensors(std::filesystem::path folder, std::string_view key)
    : folder_(std::move(folder)) {
  std::error_code error;
  std::filesystem::create_directories(*folder_, error);
  if (error) fail(error_code::io_error, place_of(*folder_), "cannot make: " + error.message());
  const auto key_file = *folder_ / "job";
  if (!std::filesystem::exists(key_file)) {
    output_file file(key_file);
    file.write(std::as_bytes(std::span(key)));
    file.commit();
    return;
  }
  if (detail::read_small_file(key_file) != key)
    fail(error_code::bad_argument, place_of(*folder_),
         "belongs to another job (other input, options or calibration text)");
  for (const auto& item : std::filesystem::directory_iterator(*folder_))
    if (item.path().extension() == ".tensor") read_back(item.path());
}

inline std::string encoded_tensors::file_name(std::string_view name) {
  constexpr std::string_view hex = "0123456789ABCDEF";
  std::string text;
  for (const char c : name) {
    const auto byte = static_cast<unsigned char>(c);
    const bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                       c == '.' || c == '_' || c == '-';
    if (plain)
      text += c;
    else
      (text += '%') += {hex[byte / 16], hex[byte % 16]};
  }
  return text + ".tensor";
}

/// A file holds the type, the length of the name, the name, and the bytes. It appeared at once, so
/// it is whole.
inline void encoded_tensors::put(const std::string& name, tensor t) {
  if (folder_) {
    const std::uint32_t head[2] = {static_cast<std::uint32_t>(t.type),
                                   static_cast<std::uint32_t>(name.size())};
    output_file file(*folder_ / file_name(name));
    file.write(std::as_bytes(std::span(head)));
    file.write(std::as_bytes(std::span(name)));
    file.write(t.bytes);
    file.commit();
  }
  all_.insert_or_assign(name, std::move(t));
}

inline void encoded_tensors::read_back(const std::filesystem::path& path) {
  const mapped_file file(path);
  const auto bytes = file.bytes();
  std::uint32_t head[2] = {};
  if (bytes.size() >= sizeof head) std::memcpy(head, bytes.data(), sizeof head);
  if (find_format(head[0]) == nullptr || bytes.size() < sizeof head + head[1])
    fail(error_code::bad_file, place_of(path), "no tensor of an earlier run");
  const auto name = bytes.subspan(sizeof head, head[1]),
             data = bytes.subspan(sizeof head + head[1]);
  all_.insert_or_assign(std::string(reinterpret_cast<const char*>(name.data()), name.size()),
                        tensor{static_cast<format>(head[0]), {data.begin(), data.end()}});
}

} // namespace edgequant::inline EDGEQUANT_ABI
