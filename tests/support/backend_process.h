// A server in a process of its own, which a test kills, stops, or has misbehave: what a relay has behind it.
//
// Owned by the test's main thread; made before the test starts threads (it forks). What it counts is shared memory, and
// may be asked for after its death. Streams and, on a udp:// address, datagrams.
#pragma once

#include "support/child_process.h"

#include <atomic>
#include <csignal>
#include <cstdint>
#include <string>

namespace portolan::testing {

enum class Conduct : std::uint8_t {
  lines,           // answers each line, or datagram, with its name, a space and the same again
  echo,            // sends back what it gets
  silent,          // reads and never answers
  deaf,            // accepts and never reads
  reset,           // accepts and resets
  close,           // accepts and closes
  half_handshake,  // the beginning of a ServerHello, and no more
  keep_waiting,    // does not accept
};

struct BackendOptions {
  std::string name = "backend";
  Conduct conduct = Conduct::lines;
  std::string listen = "tcp://127.0.0.1:0";
  int backlog = 1024;
};

class BackendProcess {
 public:
  explicit BackendProcess(const BackendOptions& options = {});
  ~BackendProcess();
  BackendProcess(const BackendProcess&) = delete;
  BackendProcess& operator=(const BackendProcess&) = delete;

  const std::string& address() const noexcept { return address_; }
  const std::string& name() const noexcept { return name_; }

  // From the next connection or message on.
  void behave(Conduct conduct) noexcept { shared_->conduct = conduct; }
  void answer_after(int ms) noexcept { shared_->delay_ms = ms; }  // with Conduct::lines
  long accepted() const noexcept { return shared_->accepted; }
  long answered() const noexcept { return shared_->answered; }  // lines and datagrams
  long open() const noexcept { return shared_->open; }

  void kill() { process_.kill(); }
  void stop() { process_.signal(SIGSTOP); }
  void go_on() { process_.signal(SIGCONT); }

  struct Shared {
    std::atomic<Conduct> conduct;
    std::atomic<int> delay_ms;
    std::atomic<long> accepted;
    std::atomic<long> answered;
    std::atomic<long> open;
  };

 private:
  std::string address_;
  std::string name_;
  Shared* shared_;
  ChildProcess process_;
};

}  // namespace portolan::testing
