// The consoles of one worker in one generation: for each session an instance of no plugin's, in which its scripts run as those
// of a service, under the service's name.
//
// So what a console dials, spawns and fails in is its own: no counter of the service moves, and it is closed with the session.
// Owned by the worker's generation, between its script and its instances. The worker's thread, between a tick and a settle.
#pragma once

#include "app/generation.h"
#include "script/console_session.h"

#include <cstdint>
#include <expected>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace portolan {

class WorkerConsole {
 public:
  // Whose session it is, and where it evaluates.
  struct Place {
    std::uint64_t session = 0;
    std::string service;  // empty: of no service
    ConsoleStyle style = ConsoleStyle::text;
    ConsoleSession::Tell tell;
  };

  // All outlive it.
  WorkerConsole(WorkerIo& io, const Generation& generation, Script& script, BanList& bans);
  ~WorkerConsole();

  void evaluate(const Place& place, std::string text, Duration time_limit);
  std::vector<std::string> complete(const Place& place, std::string_view path);
  void cancel(std::uint64_t session, const char* reason) noexcept;
  void forget(std::uint64_t session) noexcept;
  // All sessions end, and what they evaluate with this reason; no other begins.
  void end(const char* reason) noexcept;

 private:
  struct Seat;
  std::expected<Seat*, std::string> seat_for(const Place& place);
  Seat* find(std::uint64_t session) const noexcept;
  void leave(Seat& seat) noexcept;

  WorkerIo& io_;
  const Generation& generation_;
  Script& script_;
  BanList& bans_;
  std::vector<std::unique_ptr<Seat>> seats_;  // taken, or free to be taken again
  const char* ended_ = nullptr;               // why
};

}  // namespace portolan
