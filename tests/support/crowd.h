// Many plain TCP sessions at once from one process: opened in batches, talked to in turn, watched for their end.
//
// Owned by one thread, which may be any. Sends from several loopback addresses when there are more sessions than one
// address has ports for. Nothing in here asserts.
#pragma once

#include "support/waiting.h"

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

namespace portolan::testing {

class Crowd {
 public:
  explicit Crowd(std::string address) : address_(std::move(address)) {}
  ~Crowd() { close_all(); }
  Crowd(const Crowd&) = delete;
  Crowd& operator=(const Crowd&) = delete;

  // Opens so many more; the answer is how many connected before the deadline.
  std::size_t open(std::size_t count, Milliseconds patience = kPatience);
  std::size_t size() const noexcept { return descriptors_.size(); }

  // Sends `text` on every session and waits for `expected` on each: how many got exactly that.
  std::size_t ask_all(std::string_view text, std::string_view expected, Milliseconds patience = kPatience);
  // One byte on each of the sessions, never waiting: how many took it.
  std::size_t send_all(std::string_view text);
  // How many have been closed or reset by the daemon by now.
  std::size_t ended() const;
  void close_all(bool with_reset = false);
  void close_some(std::size_t count);

  const std::string& error() const noexcept { return error_; }

 private:
  std::string address_;
  std::vector<int> descriptors_;
  std::string error_;
  unsigned next_source_ = 0;
};

// Raises RLIMIT_NOFILE to its hard limit; the answer is that limit.
std::size_t raise_descriptor_limit();

}  // namespace portolan::testing
