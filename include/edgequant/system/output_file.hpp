// SPDX-License-Identifier: MIT
/// A file that appears under its name complete or not at all.
#pragma once

#include "byte_sink.hpp"
#include "mapped_file.hpp"
#include "signal_records.hpp"

#include <array>
#include <span>
#include <string>
#include <string_view>
#include <utility>

namespace edgequant::inline EDGEQUANT_ABI {

/// Where the bytes wait for commit(): in a file without a name, which vanishes even when the
/// process is killed, or in a named file beside the target, which SIGKILL leaves behind (other
/// signals: see end_cleanly_on_signals()). Where the file system has no nameless files, `nameless`
/// means `named`.
enum class staging { nameless, named };

/// Bytes on their way to `target`. The target, if it exists, stays as it was until commit();
/// without commit() nothing is left behind. A symbolic link is followed, and what it points to is
/// replaced. All errors are io_error, name the target, and end the life of the file: only
/// destruction is left.
class output_file final : public byte_sink {
public:
  /// Fails if the target is a folder or special (a device, a pipe), or its folder is missing.
  explicit output_file(const std::filesystem::path& target, staging where = staging::nameless);
  output_file(const output_file&) = delete;
  output_file& operator=(const output_file&) = delete;

  /// Appends; small pieces are collected into writes of about 1 MiB.
  void write(std::span<const std::byte> bytes) override;
  [[nodiscard]] std::uint64_t size() const noexcept override { return buffer_.size(); }
  /// Brings the bytes to the disk and puts the file under its name, with the permissions of any new
  /// file. Call once, last. A nameless file that replaces another has a staged name between two
  /// system calls only.
  void commit() override;

private:
  [[noreturn]] void give_up(const char* action);
  void require_open();
  void open_named();
  void sync();
  void give_name();
  void copy_to_named();

  std::string place_;
  std::string name_; // the target, seen from its folder
  system::detail::descriptor folder_{-1};
  system::detail::descriptor file_{-1};
  system::detail::staged_name staged_; // empty while the file has no name; dies before folder_
  system::detail::write_buffer buffer_;
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

/// The folder that `path` is in, for openat() and its kin. O_PATH: a folder that may be written but
/// not listed is enough. -1: errno says why.
[[nodiscard]] inline int open_folder_of(const std::filesystem::path& path) {
  const auto folder = path.has_parent_path() ? path.parent_path() : std::filesystem::path(".");
  return ::open(folder.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC);
}

/// A new file without a name in a folder; -1 where its file system has none.
[[nodiscard]] inline int open_nameless(int folder) noexcept {
#ifdef O_TMPFILE
  return ::openat(folder, ".", O_TMPFILE | O_RDWR | O_CLOEXEC, 0666);
#else
  (void)folder;
  return -1;
#endif
}

/// A new file with a staged name. -1: errno says why.
[[nodiscard]] inline int open_staged(int folder, staged_name& name) {
  int file = -1;
  const bool made = name.make(folder, [&](const char* staged) {
    file = ::openat(folder, staged, O_CREAT | O_EXCL | O_RDWR | O_CLOEXEC, 0666);
    return file >= 0;
  });
  return made ? file : -1;
}

/// What a write() could not do: EFAULT comes from bytes of a mapped file that has become shorter.
[[nodiscard]] inline const char* failed_write(int reason) noexcept {
  return reason == EFAULT ? "read what is to be written" : "write";
}

} // namespace system::detail

inline output_file::output_file(const std::filesystem::path& target, staging where)
    : place_(place_of(target)) {
  const auto path = system::detail::follow_links(target, place_);
  std::error_code error;
  const auto type = std::filesystem::status(path, error).type();
  if (type == std::filesystem::file_type::directory || !path.has_filename())
    fail(error_code::io_error, place_, "a folder, not a file");
  if (type != std::filesystem::file_type::not_found && type != std::filesystem::file_type::regular)
    fail(error_code::io_error, place_, "not a regular file");
  name_ = path.filename().string();
  folder_.fd = system::detail::open_folder_of(path);
  if (folder_.fd < 0) give_up("open its folder");
  if (where == staging::nameless) file_.fd = system::detail::open_nameless(folder_.fd);
  if (file_.fd < 0) open_named(); // whatever the reason was: if it is a real one, it comes again
}

inline void output_file::give_up(const char* action) {
  const int reason = errno;
  system::detail::stop_if_process_is_ending(); // the reason is then that a handler was here
  staged_.remove();
  file_.close();
  system::detail::refuse_by_system(place_, action, reason);
}

inline void output_file::require_open() {
  if (file_.fd < 0) fail(error_code::io_error, place_, "already committed, or failed before");
}

inline void output_file::open_named() {
  file_.fd = system::detail::open_staged(folder_.fd, staged_);
  if (file_.fd < 0) give_up("create");
}

inline void output_file::write(std::span<const std::byte> bytes) {
  require_open();
  if (!buffer_.write(file_.fd, bytes)) give_up(system::detail::failed_write(errno));
}

inline void output_file::commit() {
  require_open();
  if (!buffer_.flush(file_.fd)) give_up("write");
  sync(); // may last minutes, so before the file has any name
  if (staged_.empty()) give_name();
  // Some file systems report a full disk only here.
  if (const int fd = std::exchange(file_.fd, -1); ::close(fd) != 0) give_up("write");
  if (!staged_.empty() && ::renameat(folder_.fd, staged_.c_str(), folder_.fd, name_.c_str()) != 0)
    give_up("replace");
  staged_.forget();
  // The new name survives a power cut once its folder is on the disk; not every one can be synced.
  const system::detail::descriptor folder(::openat(folder_.fd, ".", O_RDONLY | O_CLOEXEC));
  if (folder.fd >= 0) ::fsync(folder.fd);
}

inline void output_file::sync() {
  if (::fsync(file_.fd) != 0) give_up("write");
}

/// Under the target's name at once where that is free, else under a staged one.
inline void output_file::give_name() {
  const std::string self = "/proc/self/fd/" + std::to_string(file_.fd);
  const auto link = [&](const char* name) {
    return ::linkat(AT_FDCWD, self.c_str(), folder_.fd, name, AT_SYMLINK_FOLLOW) == 0;
  };
  if (link(name_.c_str())) return;
  if (errno == EEXIST && staged_.make(folder_.fd, link)) return;
  copy_to_named(); // no /proc, as in a bare chroot, or a file system that refuses
}

inline void output_file::copy_to_named() {
  const system::detail::descriptor nameless(std::exchange(file_.fd, -1));
  open_named();
  const std::uint64_t size = buffer_.size();
  system::detail::write_buffer copy;
  std::vector<std::byte> part(std::size_t{1} << 20);
  while (copy.size() < size) {
    const auto count =
        ::pread(nameless.fd, part.data(), part.size(), static_cast<off_t>(copy.size()));
    if (count < 0 && errno == EINTR) continue;
    if (count == 0) errno = EIO;
    if (count <= 0) give_up("copy");
    if (!copy.write(file_.fd, std::span(part).first(static_cast<std::size_t>(count))))
      give_up("write");
  }
  if (!copy.flush(file_.fd)) give_up("write");
  sync();
}

} // namespace edgequant::inline EDGEQUANT_ABI
