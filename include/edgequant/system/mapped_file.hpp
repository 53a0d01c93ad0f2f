// SPDX-License-Identifier: MIT
/// A file as read-only memory, and a way to give its pages back while streaming through it.
#pragma once

#include "../core/exception.hpp"
#include "../core/message.hpp"
#include "signal_records.hpp"

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>
#include <system_error>

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

namespace edgequant::inline EDGEQUANT_ABI {

/// A regular file, mapped for its whole life. Share it: std::shared_ptr<const mapped_file>.
/// Whoever shortens the file meanwhile makes reads of the lost pages a SIGBUS, as with any mapping;
/// end_cleanly_on_signals() makes an error message of it.
class mapped_file {
public:
  /// io_error if the file is missing, unreadable, or no regular file (a folder, a pipe, a device);
  /// bad_file if it is empty.
  explicit mapped_file(const std::filesystem::path& path);
  /// The same of an open file, which may be closed afterwards; `path` is for messages.
  mapped_file(int descriptor, const std::filesystem::path& path);
  ~mapped_file() { ::munmap(data_, size_); }
  mapped_file(const mapped_file&) = delete;
  mapped_file& operator=(const mapped_file&) = delete;

  [[nodiscard]] std::span<const std::byte> bytes() const noexcept {
    return {static_cast<const std::byte*>(data_), size_};
  }
  [[nodiscard]] const std::filesystem::path& path() const noexcept { return path_; }

  /// Takes the pages that `part` touches out of resident memory; the next read of them comes from
  /// the file again. Bytes of `part` outside the mapping are ignored.
  void drop(std::span<const std::byte> part) const noexcept;

private:
  void map(int descriptor, const std::string& place);

  std::filesystem::path path_;
  system::detail::mapping_note note_;
  void* data_ = nullptr;
  std::size_t size_ = 0;
};

namespace system::detail {
/// Closes a descriptor at the end of a scope.
struct descriptor {
  explicit descriptor(int number) noexcept : fd(number) {}
  ~descriptor() { close(); }
  descriptor(const descriptor&) = delete;
  descriptor& operator=(const descriptor&) = delete;
  void close() noexcept {
    if (fd >= 0) ::close(fd);
    fd = -1;
  }
  int fd;
};

/// Fails with io_error: `place: cannot DO: reason of errno`.
[[noreturn]] inline void refuse_by_system(const std::string& place, const char* action,
                                          int reason = errno) {
  fail(error_code::io_error, place,
       std::string("cannot ") + action + ": " + std::generic_category().message(reason));
}
} // namespace system::detail

inline mapped_file::mapped_file(const std::filesystem::path& path)
    : path_(path), note_(place_of(path)) {
  const std::string place = place_of(path);
  // Without O_NONBLOCK the open of a pipe waits for a writer. Regular files do not care.
  const system::detail::descriptor file(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
  if (file.fd < 0) system::detail::refuse_by_system(place, "open");
  map(file.fd, place);
}

inline mapped_file::mapped_file(int descriptor, const std::filesystem::path& path)
    : path_(path), note_(place_of(path)) {
  map(descriptor, place_of(path));
}

inline void mapped_file::map(int descriptor, const std::string& place) {
  struct stat facts = {};
  if (::fstat(descriptor, &facts) != 0) system::detail::refuse_by_system(place, "inspect");
  if (S_ISDIR(facts.st_mode)) fail(error_code::io_error, place, "a folder, not a file");
  if (!S_ISREG(facts.st_mode)) fail(error_code::io_error, place, "not a regular file");
  if (facts.st_size == 0) fail(error_code::bad_file, place, "the file is empty");
  size_ = static_cast<std::size_t>(facts.st_size);
  void* data = ::mmap(nullptr, size_, PROT_READ, MAP_PRIVATE, descriptor, 0);
  if (data == MAP_FAILED) system::detail::refuse_by_system(place, "map");
  data_ = data;
  note_.set(data, size_);
}

inline void mapped_file::drop(std::span<const std::byte> part) const noexcept {
  const auto start = reinterpret_cast<std::uintptr_t>(data_);
  const auto begin = std::max(start, reinterpret_cast<std::uintptr_t>(part.data()));
  const auto end =
      std::min(start + size_, reinterpret_cast<std::uintptr_t>(part.data()) + part.size());
  if (begin >= end) return;
  // The mapping starts on a page. Pages that `part` shares with its neighbours go too: nothing is
  // lost but a read from the page cache, and small tensors would otherwise never be given back.
  const auto page = static_cast<std::uintptr_t>(::sysconf(_SC_PAGESIZE));
  const auto first = (begin - start) / page * page;
  ::madvise(static_cast<std::byte*>(data_) + first, end - start - first, MADV_DONTNEED);
}

} // namespace edgequant::inline EDGEQUANT_ABI
