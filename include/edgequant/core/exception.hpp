// SPDX-License-Identifier: MIT
/// The one way to report bad input: an exception with a code and the place where it went wrong.
#pragma once

#include "../config.hpp"

#include <cstdio>
#include <cstdlib>
#include <stdexcept>
#include <string>

namespace edgequant::inline EDGEQUANT_ABI {

enum class error_code {
  bad_argument, ///< a call or a command line that makes no sense
  bad_value,    ///< weights that cannot be quantized: NaN, infinity, a scale that overflows
  bad_file,     ///< a file whose bytes contradict its format
  io_error,     ///< the system refused: missing file, no permission, disk full
  exhausted,    ///< a pool of fixed size has nothing left: free some and try again
};

/// what() is one line, `place: problem`; place names the file, tensor, key or byte offset.
class exception : public std::runtime_error {
public:
  exception(error_code code, std::string place, const std::string& problem)
      : std::runtime_error(place.empty() ? problem : place + ": " + problem), code_(code),
        place_(std::move(place)) {}
  [[nodiscard]] error_code code() const noexcept { return code_; }
  [[nodiscard]] const std::string& place() const noexcept { return place_; }

private:
  error_code code_;
  std::string place_;
};

/// Called instead of a throw in programs built with -fno-exceptions; must not return.
using failure_handler = void (*)(error_code, const char* message);

/// The handler in force. Assign another one before the first call that may fail.
/// The default prints the message to stderr; whatever the handler does, abort() follows.
inline failure_handler on_failure = [](error_code, const char* message) {
  std::fprintf(stderr, "edgequant: %s\n", message);
};

/// Throws exception(code, place, problem), or calls on_failure and aborts where exceptions are off.
[[noreturn]] inline void fail(error_code code, const std::string& place,
                              const std::string& problem) {
  exception error(code, place, problem);
#if defined(__cpp_exceptions)
  throw error;
#else
  on_failure(code, error.what());
  std::abort();
#endif
}

} // namespace edgequant::inline EDGEQUANT_ABI
