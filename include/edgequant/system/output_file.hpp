// SPDX-License-Identifier: MIT
/// A file that appears under its name complete or not at all.
#pragma once

#include "mapped_file.hpp"

#include <cstdio>
#include <random>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace edgequant::inline EDGEQUANT_ABI {

/// Where the bytes wait for commit(): in a file without a name, which vanishes even when the
/// process is killed, or in a named file beside the target. Where the file system has no nameless
/// files, `nameless` means `named`.
enum class staging { nameless, named };

/// Bytes on their way to `target`. The target, if it exists, stays as it was until commit();
/// without commit() nothing is left behind. A symbolic link is followed, and what it points to is
/// replaced. All errors are io_error, name the target, and end the life of the file: only
/// destruction is left.
class output_file {
public:
  /// Fails if the target is a folder or special (a device, a pipe), or its folder is missing.
  explicit output_file(const std::filesystem::path& target, staging where = staging::nameless);
  ~output_file() { abandon(); }
  output_file(const output_file&) = delete;
  output_file& operator=(const output_file&) = delete;

  /// Appends; small pieces are collected into writes of about 1 MiB.
  void write(std::span<const std::byte> bytes);
  /// Bytes given to write() so far.
  [[nodiscard]] std::uint64_t size() const noexcept { return size_; }
  /// Brings the bytes to the disk and puts the file under its name, with the permissions of any new
  /// file. Call once, last.
  void commit();

private:
  static constexpr std::size_t buffer_bytes = std::size_t{1} << 20;

  [[noreturn]] void give_up(const char* action);
  void abandon() noexcept;
  void require_open();
  void open_named();
  void write_out(std::span<const std::byte> bytes);
  void flush();
  void give_name();
  void copy_to_named();

  std::string place_;
  std::string name_;      // the target, seen from its folder
  std::string temporary_; // the same for the staged file; empty while it has no name
  system::detail::descriptor folder_{-1};
  system::detail::descriptor file_{-1};
  std::vector<std::byte> buffer_;
  std::uint64_t size_ = 0;
};

namespace system::detail {
/// Follows symbolic links to where a write would end up, which need not exist.
inline std::filesystem::path follow_links(std::filesystem::path path, const std::string& place) {
  std::error_code error;
  for (int links = 0; std::filesystem::is_symlink(path, error); ++links) {
    if (links == 40) refuse_by_system(place, "follow the link", ELOOP);
    path = path.parent_path() / std::filesystem::read_symlink(path, error);
    if (error) refuse_by_system(place, "follow the link", error.value());
  }
  return path;
}

inline std::string temporary_name() {
  std::random_device random;
  char name[48];
  std::snprintf(name, sizeof name, ".edgequant-%08x%08x.part", random(), random());
  return name;
}
} // namespace system::detail

inline output_file::output_file(const std::filesystem::path& target, staging where)
    : place_(place_of(target)) {
  buffer_.reserve(buffer_bytes);
  const auto path = system::detail::follow_links(target, place_);
  std::error_code error;
  const auto type = std::filesystem::status(path, error).type();
  if (type == std::filesystem::file_type::directory || !path.has_filename())
    fail(error_code::io_error, place_, "a folder, not a file");
  if (type != std::filesystem::file_type::not_found && type != std::filesystem::file_type::regular)
    fail(error_code::io_error, place_, "not a regular file");
  name_ = path.filename().string();
  const auto folder = path.has_parent_path() ? path.parent_path() : std::filesystem::path(".");
  // O_PATH: a folder that may be written but not listed is enough.
  folder_.fd = ::open(folder.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC);
  if (folder_.fd < 0) give_up("open its folder");
#ifdef O_TMPFILE
  if (where == staging::nameless)
    file_.fd = ::openat(folder_.fd, ".", O_TMPFILE | O_RDWR | O_CLOEXEC, 0666);
#endif
  if (file_.fd < 0) open_named(); // whatever the reason was: if it is a real one, it comes again
}

inline void output_file::give_up(const char* action) {
  const int reason = errno;
  abandon();
  system::detail::refuse_by_system(place_, action, reason);
}

inline void output_file::abandon() noexcept {
  if (!temporary_.empty()) ::unlinkat(folder_.fd, temporary_.c_str(), 0);
  temporary_.clear();
  file_.close();
}

inline void output_file::require_open() {
  if (file_.fd < 0) fail(error_code::io_error, place_, "already committed, or failed before");
}

inline void output_file::open_named() {
  do {
    temporary_ = system::detail::temporary_name();
    file_.fd =
        ::openat(folder_.fd, temporary_.c_str(), O_CREAT | O_EXCL | O_RDWR | O_CLOEXEC, 0666);
  } while (file_.fd < 0 && errno == EEXIST);
  if (file_.fd >= 0) return;
  temporary_.clear(); // not ours to remove
  give_up("create");
}

inline void output_file::write(std::span<const std::byte> bytes) {
  require_open();
  size_ += bytes.size();
  if (buffer_.size() + bytes.size() > buffer_bytes) flush();
  if (bytes.size() >= buffer_bytes)
    write_out(bytes);
  else
    buffer_.insert(buffer_.end(), bytes.begin(), bytes.end());
}

inline void output_file::write_out(std::span<const std::byte> bytes) {
  while (!bytes.empty()) {
    const auto written = ::write(file_.fd, bytes.data(), bytes.size());
    if (written < 0 && errno == EINTR) continue;
    if (written == 0) errno = ENOSPC; // POSIX leaves this open; looping on it would never end
    if (written <= 0) give_up("write");
    bytes = bytes.subspan(static_cast<std::size_t>(written));
  }
}

inline void output_file::flush() {
  write_out(buffer_);
  buffer_.clear();
}

inline void output_file::commit() {
  require_open();
  flush();
  if (temporary_.empty()) give_name();
  if (::fsync(file_.fd) != 0) give_up("write");
  // Some file systems report a full disk only here.
  if (const int fd = std::exchange(file_.fd, -1); ::close(fd) != 0) give_up("write");
  if (::renameat(folder_.fd, temporary_.c_str(), folder_.fd, name_.c_str()) != 0)
    give_up("replace");
  temporary_.clear();
  // The new name survives a power cut once its folder is on the disk; not every one can be synced.
  const system::detail::descriptor folder(::openat(folder_.fd, ".", O_RDONLY | O_CLOEXEC));
  if (folder.fd >= 0) ::fsync(folder.fd);
}

inline void output_file::give_name() {
  const std::string self = "/proc/self/fd/" + std::to_string(file_.fd);
  int result = 0;
  do {
    temporary_ = system::detail::temporary_name();
    result = ::linkat(AT_FDCWD, self.c_str(), folder_.fd, temporary_.c_str(), AT_SYMLINK_FOLLOW);
  } while (result != 0 && errno == EEXIST);
  if (result == 0) return;
  temporary_.clear();
  copy_to_named(); // no /proc, as in a bare chroot, or a file system that refuses
}

inline void output_file::copy_to_named() {
  const system::detail::descriptor nameless(std::exchange(file_.fd, -1));
  open_named();
  buffer_.resize(buffer_bytes);
  for (std::uint64_t done = 0; done < size_;) {
    const auto count =
        ::pread(nameless.fd, buffer_.data(), buffer_.size(), static_cast<off_t>(done));
    if (count < 0 && errno == EINTR) continue;
    if (count == 0) errno = EIO;
    if (count <= 0) give_up("copy");
    write_out(std::span(buffer_).first(static_cast<std::size_t>(count)));
    done += static_cast<std::uint64_t>(count);
  }
}

} // namespace edgequant::inline EDGEQUANT_ABI
