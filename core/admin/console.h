// The admin API's part for `portolan console`, on the unix socket only: whoever may write to it may run scripts.
//
//   POST /console?worker=&service=&style=      begins a session: the answer goes on for as long as it lasts, as events. Ends with
//                                              its connection
//   POST /console/line?session=&time=          evaluates the body, a chunk of Lua; what comes of it are events of the session
//   POST /console/sql?session=&time=           asks the store the body, likewise
//   POST /console/cancel?session=              ends what is evaluated
//   POST /console/complete?session=            what may stand for the last name in the body: {"words":[...]}
//
// An event is a line "KIND SIZE", so many bytes, and a newline; the kinds are those of ConsoleEvent. Main thread. What it tells
// and does comes from ConsoleHost, which the daemon has.
#pragma once

#include "event/http_server.h"
#include "plugin/service.h"
#include "script/console_session.h"

#include <cstddef>
#include <cstdint>
#include <expected>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace portolan {

inline constexpr std::size_t kMostConsoleLine = 64 * 1024;
inline constexpr Duration kConsoleTime = std::chrono::seconds(30);  // of a line, when nothing else is said
inline constexpr Duration kMostConsoleTime = std::chrono::hours(1);

struct ConsoleWish {
  unsigned worker = 0;
  std::string service;  // empty: the first with functions, else none
  ConsoleStyle style = ConsoleStyle::text;
};

// Where a session's events go.
class ConsoleOutput {
 public:
  virtual ~ConsoleOutput() = default;
  virtual void event(ConsoleEvent event, std::string_view text) = 0;
  virtual std::size_t unsent() const = 0;
  virtual void end() = 0;
};

// Refusals are an HTTP status and a sentence.
struct ConsoleRefusal {
  int status = 409;
  std::string why;
};
class ConsoleHost {
 public:
  using Done = std::expected<void, ConsoleRefusal>;
  // Where it would evaluate, and the session's number; then `begin` with its output.
  virtual std::expected<std::uint64_t, ConsoleRefusal> open(ConsoleWish wish) = 0;
  virtual void begin(std::uint64_t session, std::unique_ptr<ConsoleOutput> output) = 0;
  virtual void close(std::uint64_t session) = 0;  // its client has gone
  virtual Done line(std::uint64_t session, std::string text, Duration time_limit) = 0;
  virtual Done sql(std::uint64_t session, std::string text, Duration time_limit) = 0;
  virtual Done cancel(std::uint64_t session) = 0;
  virtual Done complete(std::uint64_t session, std::string path,
                        std::function<void(std::vector<std::string> words)> done) = 0;

 protected:
  ~ConsoleHost() = default;
};

bool is_console_page(std::string_view path) noexcept;
void serve_console(ConsoleHost& host, const HttpRequest& request, const HttpReply& reply);

}  // namespace portolan
