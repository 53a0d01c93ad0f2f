// SPDX-License-Identifier: MIT
/// What a signal handler has to know when the process ends: files with a staged name, and mapped
/// files. Kept at all times, read only after end_cleanly_on_signals().
#pragma once

#include "../config.hpp"

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <csignal>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <ctime>
#include <random>
#include <string_view>
#include <utility>

#include <unistd.h>

namespace edgequant::inline EDGEQUANT_ABI::system::detail {

/// Records that a signal handler may walk at any moment: they are used again and never freed, so
/// that there are as many as were once needed together.
template <class Record> class record_list {
public:
  constexpr record_list() = default;

  /// A record that nobody else holds.
  [[nodiscard]] Record* take() {
    for (node* n = first_.load(); n != nullptr; n = n->next)
      if (!n->taken.exchange(true)) return n;
    auto* fresh = new node;
    fresh->next = first_.load();
    while (!first_.compare_exchange_weak(fresh->next, fresh)) {
    }
    return fresh;
  }
  void give_back(Record* record) noexcept { static_cast<node*>(record)->taken.store(false); }

  template <class Use> void for_each(Use use) const noexcept {
    for (node* n = first_.load(); n != nullptr; n = n->next) use(*n);
  }

private:
  struct node : Record {
    std::atomic<bool> taken = true;
    node* next = nullptr;
  };
  std::atomic<node*> first_ = nullptr;
};

/// A file whose name is not the one it was made for.
struct staged_record {
  enum step { absent, appearing, present };
  std::atomic<step> state = absent;
  int folder = -1;    // the descriptor that `name` is seen from
  pid_t owner = 0;    // a forked child has the record, and not the file
  char name[64] = {}; // set while the state is absent
};

/// Memory that faults where its file becomes shorter.
struct mapping_record {
  std::atomic<std::uintptr_t> begin = 0, end = 0;
  char place[256] = {}; // of the file, for a message; ends in a zero
};

inline record_list<staged_record> staged_records;
inline record_list<mapping_record> mapping_records;
inline std::atomic<bool> process_is_ending = false; // set by a handler, never reset

/// For a handler: removes the files that have a staged name. A thread that is making one is waited
/// for, up to 5 s; none begins another.
inline void remove_staged_files() noexcept {
  process_is_ending = true;
  staged_records.for_each([](const staged_record& record) {
    for (int waits = 0; record.state == staged_record::appearing && waits < 5000; ++waits) {
      const timespec millisecond = {0, 1000000};
      ::nanosleep(&millisecond, nullptr);
    }
    if (record.state != staged_record::absent && record.owner == ::getpid())
      ::unlinkat(record.folder, record.name, 0);
  });
}

/// Ends a thread's work while the process ends, so that it makes no file and prints no error.
inline void stop_if_process_is_ending() noexcept {
  while (process_is_ending) ::pause();
}

/// While it lives, no handler runs on this thread.
class blocked_signals {
public:
  blocked_signals() noexcept {
    sigset_t all;
    sigfillset(&all);
    ::pthread_sigmask(SIG_BLOCK, &all, &before_);
  }
  ~blocked_signals() { ::pthread_sigmask(SIG_SETMASK, &before_, nullptr); }
  blocked_signals(const blocked_signals&) = delete;
  blocked_signals& operator=(const blocked_signals&) = delete;

private:
  sigset_t before_;
};

/// The name of a staged file in a folder; removes the file at the end of its life.
class staged_name {
public:
  staged_name() = default;
  ~staged_name() { remove(); }
  staged_name(const staged_name&) = delete;
  staged_name& operator=(const staged_name&) = delete;

  [[nodiscard]] bool empty() const noexcept { return record_ == nullptr; }
  [[nodiscard]] const char* c_str() const noexcept { return record_->name; }

  /// Calls create(name) with random names until it returns true; it must fail with EEXIST where
  /// the name is taken. False: errno has another reason. `folder` must stay open until remove() or
  /// forget(). The record is there before the file is, so that no signal comes between them.
  template <class Create> [[nodiscard]] bool make(int folder, Create create);
  /// Removes the file, if there is one under the name and this process made it.
  void remove() noexcept {
    if (record_ != nullptr && record_->owner == ::getpid())
      ::unlinkat(record_->folder, record_->name, 0);
    forget();
  }
  /// The file has another name now, or none.
  void forget() noexcept {
    if (record_ == nullptr) return;
    record_->state = staged_record::absent;
    staged_records.give_back(std::exchange(record_, nullptr));
  }

private:
  staged_record* record_ = nullptr;
};

/// `.edgequant-` and 128 random bits: no other program has the name.
inline void write_staged_name(char (&name)[64]) {
  constexpr char digits[] = "0123456789abcdef";
  std::random_device random;
  char* at = std::copy_n(".edgequant-", 11, name);
  for (int word = 0; word < 4; ++word) {
    const std::uint32_t bits = random();
    for (int shift = 28; shift >= 0; shift -= 4) *at++ = digits[bits >> shift & 15];
  }
  std::copy_n(".part", 6, at);
}

template <class Create> bool staged_name::make(int folder, Create create) {
  record_ = staged_records.take();
  record_->folder = folder;
  record_->owner = ::getpid();
  bool made = false;
  do {
    write_staged_name(record_->name);
    const blocked_signals here; // a handler on this thread would wait for this thread
    record_->state = staged_record::appearing;
    if (process_is_ending) record_->state = staged_record::absent;
    stop_if_process_is_ending();
    made = create(record_->name);
    record_->state = made ? staged_record::present : staged_record::absent;
  } while (!made && errno == EEXIST);
  if (!made) forget(); // not ours to remove
  return made;
}

/// The record of a mapping, for as long as it lives.
class mapping_note {
public:
  explicit mapping_note(std::string_view place) : record_(mapping_records.take()) {
    const std::size_t room = sizeof record_->place - 4;
    const std::size_t size = std::min(place.size(), room);
    std::memcpy(record_->place, place.data(), size);
    std::strcpy(record_->place + size, size < place.size() ? "..." : "");
  }
  ~mapping_note() {
    record_->begin = record_->end = 0;
    mapping_records.give_back(record_);
  }
  mapping_note(const mapping_note&) = delete;
  mapping_note& operator=(const mapping_note&) = delete;

  void set(const void* data, std::size_t size) noexcept {
    record_->begin = reinterpret_cast<std::uintptr_t>(data);
    record_->end = reinterpret_cast<std::uintptr_t>(data) + size;
  }

private:
  mapping_record* record_;
};

} // namespace edgequant::inline EDGEQUANT_ABI::system::detail
