// SPDX-License-Identifier: MIT
/// Tensors whose bytes are ready before the file is written; in memory, or in a folder that a later
/// run of the same job goes on from.
#pragma once

#include "../format/format.hpp"
#include "../plan/divergence.hpp"
#include "../system/output_file.hpp"

#include <cmath>
#include <map>
#include <optional>

namespace edgequant::inline EDGEQUANT_ABI {

/// Bytes of finished tensors by name.
class encoded_tensors {
public:
  struct tensor {
    format type = format::f32;
    std::vector<std::byte> bytes;            ///< rows one after the other, as in the file
    std::optional<double> output_error = {}; ///< see output_error(), against what was to be encoded
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
  /// What changes from now on stays in memory.
  void leave_folder() noexcept { folder_.reset(); }
  /// Calls body(name, tensor) in the order of the names. Bytes may change, and do so in memory.
  template <class Body> void for_each(Body body) {
    for (auto& [name, t] : all_) body(name, t);
  }
  template <class Body> void for_each(Body body) const {
    for (const auto& [name, t] : all_) body(name, t);
  }

private:
  /// Letters, digits, '.', '_' and '-' stay; other bytes become %XX.
  [[nodiscard]] static std::string file_name(std::string_view name);
  void read_back(const std::filesystem::path& file);

  std::map<std::string, tensor, std::less<>> all_;
  std::optional<std::filesystem::path> folder_;
};

/// Divergences kept among encoded tensors, one f64 a tensor. `kept` must outlive the result.
[[nodiscard]] inline known_divergences divergences_in(encoded_tensors& kept) {
  return {[&kept](const std::string& name) -> std::optional<double> {
            const auto* t = kept.find(name);
            double value = 0;
            if (t == nullptr || t->bytes.size() != sizeof value) return std::nullopt;
            std::memcpy(&value, t->bytes.data(), sizeof value);
            return value;
          },
          [&kept](const std::string& name, double value) {
            const auto raw = std::as_bytes(std::span(&value, 1));
            kept.put(name, {format::f64, {raw.begin(), raw.end()}, {}});
          }};
}

namespace compression::detail {

/// What a file of a finished tensor begins with.
struct tensor_head {
  std::uint32_t type = 0xffffffff, name_bytes = 0;
  double output_error = 0;
};

inline std::string read_small_file(const std::filesystem::path& path) {
  const mapped_file file(path);
  const auto bytes = file.bytes();
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

} // namespace compression::detail

inline encoded_tensors::encoded_tensors(std::filesystem::path folder, std::string_view key)
    : folder_(std::move(folder)) {
  std::error_code error;
  std::filesystem::create_directories(*folder_, error);
  if (error) fail(error_code::io_error, place_of(*folder_), "cannot make: " + error.message());
  const auto key_file = *folder_ / "job";
  if (!std::filesystem::exists(key_file)) {
    output_file file(key_file);
    file.write(std::as_bytes(std::span(key.data(), key.size())));
    file.commit();
    return;
  }
  if (compression::detail::read_small_file(key_file) != key)
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

/// A file holds the type, the length of the name, the output error (NaN: none), the name, and the
/// bytes. It appeared at once, so
/// it is whole.
inline void encoded_tensors::put(const std::string& name, tensor t) {
  if (folder_) {
    const compression::detail::tensor_head head{static_cast<std::uint32_t>(t.type),
                                                static_cast<std::uint32_t>(name.size()),
                                                t.output_error.value_or(std::nan(""))};
    output_file file(*folder_ / file_name(name));
    file.write(std::as_bytes(std::span(&head, 1)));
    file.write(std::as_bytes(std::span(name)));
    file.write(t.bytes);
    file.commit();
  }
  all_.insert_or_assign(name, std::move(t));
}

inline void encoded_tensors::read_back(const std::filesystem::path& path) {
  const mapped_file file(path);
  const auto bytes = file.bytes();
  compression::detail::tensor_head head;
  if (bytes.size() >= sizeof head) std::memcpy(&head, bytes.data(), sizeof head);
  if (find_format(head.type) == nullptr || bytes.size() < sizeof head + head.name_bytes)
    fail(error_code::bad_file, place_of(path), "no tensor of an earlier run");
  const auto name = bytes.subspan(sizeof head, head.name_bytes),
             data = bytes.subspan(sizeof head + head.name_bytes);
  tensor t{static_cast<format>(head.type), {data.begin(), data.end()}};
  if (!std::isnan(head.output_error)) t.output_error = head.output_error;
  all_.insert_or_assign(std::string(reinterpret_cast<const char*>(name.data()), name.size()),
                        std::move(t));
}

} // namespace edgequant::inline EDGEQUANT_ABI
