// SPDX-License-Identifier: MIT
/// A clean end of a program that a signal ends.
#pragma once

#include "signal_records.hpp"
#include "terminal.hpp"

#include <array>
#include <csignal>
#include <string_view>

#include <unistd.h>

namespace edgequant::inline EDGEQUANT_ABI {

/// For programs, at the beginning of main(); the library never calls it, since handlers belong to
/// the program. Afterwards:
/// - A signal that ends the process by default (HUP, INT, QUIT, PIPE, TERM, XCPU, XFSZ) first
///   removes the files that an output_file has under a staged name, then ends it as by default.
/// - Reading a mapped_file behind its end, because another program made it shorter, prints the line
///   `PROGRAM: FILE: ...` to stderr, removes those files, and ends the process with status 1.
/// A signal that is ignored or has a handler already is left alone. `program` may be empty; at most
/// 63 bytes of it are shown.
void end_cleanly_on_signals(std::string_view program = {});

namespace system::detail {

inline std::array<char, 64> program_name = {}; // ends in a zero

/// Restores the default action; the signal is delivered again when its handler returns.
inline void end_by_default(int signal) noexcept {
  struct sigaction action = {};
  action.sa_handler = SIG_DFL;
  ::sigaction(signal, &action, nullptr);
  ::raise(signal);
}

inline void end_after_signal(int signal) noexcept {
  remove_staged_files();
  end_by_default(signal);
}

/// One line in one write. Async-signal-safe, as all that handlers call.
inline void print_lost_page(const char* place) noexcept {
  std::array<char, 512> line;
  std::size_t used = 0;
  const auto append = [&](const char* text) {
    while (*text != 0 && used < line.size()) line[used++] = *text++;
  };
  if (line_is_open) append("\r\033[K");
  append(program_name.data());
  if (program_name[0] != 0) append(": ");
  append(place);
  append(": cannot read: the file became shorter while it was in use, or its disk failed\n");
  [[maybe_unused]] const auto written = ::write(STDERR_FILENO, line.data(), used);
}

inline void end_after_lost_page(int signal, siginfo_t* facts, void*) noexcept {
  static std::atomic_flag begun; // clear
  const auto address = reinterpret_cast<std::uintptr_t>(facts->si_addr);
  const char* place = nullptr;
  mapping_records.for_each([&](const mapping_record& record) {
    if (address >= record.begin && address < record.end) place = record.place;
  });
  if (place == nullptr) return end_by_default(signal); // nothing of ours
  while (begun.test_and_set()) ::pause();              // another thread prints the line
  print_lost_page(place);
  remove_staged_files();
  ::_exit(1);
}

/// Installs `action` where the signal's action is the default.
inline void handle(int signal, struct sigaction action) noexcept {
  struct sigaction now = {};
  if (::sigaction(signal, nullptr, &now) != 0) return;
  if ((now.sa_flags & SA_SIGINFO) != 0 || now.sa_handler != SIG_DFL) return;
  sigfillset(&action.sa_mask);
  ::sigaction(signal, &action, nullptr);
}

} // namespace system::detail

inline void end_cleanly_on_signals(std::string_view program) {
  auto& name = system::detail::program_name;
  name = {};
  std::copy_n(program.data(), std::min(program.size(), name.size() - 1), name.data());
  struct sigaction ending = {}, lost_page = {};
  ending.sa_handler = system::detail::end_after_signal;
  lost_page.sa_sigaction = system::detail::end_after_lost_page;
  lost_page.sa_flags = SA_SIGINFO;
  for (const int signal : {SIGHUP, SIGINT, SIGQUIT, SIGPIPE, SIGTERM, SIGXCPU, SIGXFSZ})
    system::detail::handle(signal, ending);
  system::detail::handle(SIGBUS, lost_page);
}

} // namespace edgequant::inline EDGEQUANT_ABI
