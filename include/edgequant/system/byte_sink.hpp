// SPDX-License-Identifier: MIT
/// What bytes of a file are written to.
#pragma once

#include "../config.hpp"

#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include <unistd.h>

namespace edgequant::inline EDGEQUANT_ABI {

/// Takes the bytes of one file, in order.
class byte_sink {
public:
  /// Appends.
  virtual void write(std::span<const std::byte> bytes) = 0;
  /// Bytes given to write() so far.
  [[nodiscard]] virtual std::uint64_t size() const noexcept = 0;
  /// The file is complete. Call once, last.
  virtual void commit() = 0;

protected:
  ~byte_sink() = default;
};

namespace system::detail {

/// Collects small pieces into writes of about 1 MiB. Where a call returns false, errno says why.
class write_buffer {
public:
  write_buffer() { waiting_.reserve(capacity); }

  [[nodiscard]] bool write(int fd, std::span<const std::byte> bytes) {
    size_ += bytes.size();
    if (waiting_.size() + bytes.size() > capacity && !flush(fd)) return false;
    if (bytes.size() >= capacity) return write_out(fd, bytes);
    waiting_.insert(waiting_.end(), bytes.begin(), bytes.end());
    return true;
  }
  [[nodiscard]] bool flush(int fd) {
    const bool done = write_out(fd, waiting_);
    waiting_.clear();
    return done;
  }
  [[nodiscard]] std::uint64_t size() const noexcept { return size_; }

private:
  static constexpr std::size_t capacity = std::size_t{1} << 20;

  static bool write_out(int fd, std::span<const std::byte> bytes) noexcept {
    while (!bytes.empty()) {
      const auto written = ::write(fd, bytes.data(), bytes.size());
      if (written < 0 && errno == EINTR) continue;
      if (written == 0) errno = ENOSPC; // POSIX leaves this open; looping on it would never end
      if (written <= 0) return false;
      bytes = bytes.subspan(static_cast<std::size_t>(written));
    }
    return true;
  }

  std::vector<std::byte> waiting_;
  std::uint64_t size_ = 0;
};

} // namespace system::detail

} // namespace edgequant::inline EDGEQUANT_ABI
