// A server under test as a child process: started, asked for its address, measured from outside, stopped.
// What is measured of it is measured of its own children as well: a master and its workers are one server.
// It dies with the driver, however the driver ends.
#pragma once

#include <sys/types.h>

#include <csignal>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "net.h"

namespace portolan::bench {

class TemporaryDirectory {
 public:
  TemporaryDirectory();  // throws std::runtime_error when there is nowhere to put it
  TemporaryDirectory(const TemporaryDirectory&) = delete;
  TemporaryDirectory& operator=(const TemporaryDirectory&) = delete;
  ~TemporaryDirectory();

  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

struct Command {
  std::vector<std::string> arguments;  // the first one is the program's path
  std::map<std::string, std::string> environment;
  std::string error_file;  // where stderr goes; its last line explains a server that died
  std::optional<int> cpu;
  int death_signal = SIGKILL;  // what it gets when the driver is gone; SIGTERM for one with children to take along
};

class Process {
 public:
  static Result<Process> start(const Command& command);

  Process(Process&& other) noexcept;
  Process& operator=(Process&&) = delete;
  ~Process();

  // Reads stdout up to `listening SERVICE SCHEME://...` and returns the address.
  Result<sockaddr_in> wait_for_listener(std::string_view service, std::string_view scheme);

  // CPU time of all threads, living and gone. The kernel brings it up to date when a thread leaves the CPU,
  // so the figure is exact to the nanosecond only for a server that is waiting: settle() first.
  std::uint64_t cpu_ns() const;
  void settle() const;
  // Of that what its threads took that are not called worker: the store's, for one, in Portolan.
  std::uint64_t other_cpu_ns() const;

  std::uint64_t private_dirty_bytes() const;  // memory that the process made its own, without the kernel's share
  std::uint64_t resident_bytes() const;
  std::uint64_t sleeps() const;  // how often its threads went to wait for work

  // When the server is gone, or goes within that time: how, and what it said last. Empty while it lives.
  std::string cause_of_death(int patience_ms = 0);
  // SIGTERM, then SIGKILL for one that takes longer than a drain may. Says which way it went when that was
  // not well.
  std::string stop();

 private:
  Process(pid_t pid, Descriptor output, std::string error_file);
  bool reap(int timeout_ms);
  std::vector<pid_t> family() const;  // it and its children
  void kill_family();

  pid_t pid_ = -1;
  bool running_ = false;
  int status_ = 0;
  Descriptor output_;
  std::string unread_;
  std::string error_file_;
};

// For a server that does not announce itself: asks at that address until it is served there.
Result<sockaddr_in> wait_until_served(Process& server, std::string_view scheme, const sockaddr_in& address);

}  // namespace portolan::bench
