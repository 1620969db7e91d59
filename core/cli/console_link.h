// A console's session with the daemon (admin/console.h): the connection on which its events come, and the questions beside it.
//
// For commands only; blocking, but for what it waits for together with the keyboard.
#pragma once

#include "cli/daemon_answer.h"

#include <expected>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace portolan {

struct ConsoleMessage {
  std::string kind;  // as to_string(ConsoleEvent)
  std::string text;
};

class ConsoleLink {
 public:
  // `wish` is the query of /console: "?worker=0&style=text".
  static std::expected<std::unique_ptr<ConsoleLink>, CommandFailure> open(const std::string& socket_path,
                                                                          const std::string& wish);

  // Where it evaluates: session, worker, service, generation.
  const Answer& facts() const noexcept { return facts_; }
  int descriptor() const noexcept { return socket_.get(); }

  // Takes what has come, without waiting. False: the daemon has ended it, and what it had said is there still.
  bool receive();
  // The next message of what was taken; false when there is none that is whole.
  bool take(ConsoleMessage& message);

  // Asks /console/PAGE about this session; `query` begins with "&".
  std::expected<Answer, CommandFailure> ask(std::string_view page, const std::string& query = {},
                                            std::string_view body = {}) const;

 private:
  ConsoleLink(std::string socket_path, UniqueFd socket) : path_(std::move(socket_path)), socket_(std::move(socket)) {}
  std::expected<void, CommandFailure> begin();

  const std::string path_;
  UniqueFd socket_;
  std::string input_;
  Answer facts_;
};

}  // namespace portolan
