// SPDX-License-Identifier: MIT
/// A file for bytes that are too many for memory, which never has a name.
#pragma once

#include "output_file.hpp"

#include <memory>
#include <span>
#include <string>

namespace edgequant::inline EDGEQUANT_ABI {

/// Bytes that are written once, then read through a mapping. The file has no name (where the file
/// system has no nameless files: none once the constructor returns) and is gone with this object
/// and its mapping, however the process ends. All errors are io_error, name `beside` and the
/// scratch file, and end the life of the file.
class scratch_file final : public byte_sink {
public:
  /// Makes the file in the folder that `beside` is in, or would be: that is where there is room.
  /// `beside` itself is not touched.
  explicit scratch_file(const std::filesystem::path& beside, staging where = staging::nameless);
  scratch_file(const scratch_file&) = delete;
  scratch_file& operator=(const scratch_file&) = delete;

  /// Appends; small pieces are collected into writes of about 1 MiB.
  void write(std::span<const std::byte> bytes) override;
  [[nodiscard]] std::uint64_t size() const noexcept override { return buffer_.size(); }
  /// All bytes were given to write(). Call once, before map().
  void commit() override;
  /// The bytes, which stay there for as long as the result lives. bad_file if there are none. Its
  /// path() is `BESIDE: scratch file`, which names no file.
  [[nodiscard]] std::shared_ptr<const mapped_file> map() const;

private:
  [[noreturn]] void give_up(const char* action);

  std::string place_;
  system::detail::descriptor file_{-1};
  system::detail::write_buffer buffer_;
};

inline scratch_file::scratch_file(const std::filesystem::path& beside, staging where)
    : place_(place_of(beside) + ": scratch file") {
  const auto path = system::detail::follow_links(beside, place_);
  const system::detail::descriptor folder(system::detail::open_folder_of(path));
  if (folder.fd < 0) give_up("open its folder");
  if (where == staging::nameless) file_.fd = system::detail::open_nameless(folder.fd);
  if (file_.fd >= 0) return;
  system::detail::staged_name name; // and gone at the end of this scope
  file_.fd = system::detail::open_staged(folder.fd, name);
  if (file_.fd < 0) give_up("create");
}

inline void scratch_file::give_up(const char* action) {
  const int reason = errno;
  file_.close();
  system::detail::refuse_by_system(place_, action, reason);
}

inline void scratch_file::write(std::span<const std::byte> bytes) {
  if (file_.fd < 0) fail(error_code::io_error, place_, "failed before");
  if (!buffer_.write(file_.fd, bytes)) give_up(system::detail::failed_write(errno));
}

inline void scratch_file::commit() {
  write({});
  if (!buffer_.flush(file_.fd)) give_up("write");
}

inline std::shared_ptr<const mapped_file> scratch_file::map() const {
  return std::make_shared<const mapped_file>(file_.fd, place_);
}

} // namespace edgequant::inline EDGEQUANT_ABI
