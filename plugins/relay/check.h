// One check of one backend that is under way: over a stream (connect, send and expect, HTTP, TLS) or by a datagram.
//
// Deletes itself when it has told its outcome, or was cancelled; a stream that it leaves behind ends by itself. It has no
// timer: whoever began it ends it by time_out(). The service's thread.
#pragma once

#include "plugin/service.h"
#include "plugins/relay/settings.h"

#include <string>
#include <string_view>

namespace portolan::relay {

// What is checked and how. Outlives its checks.
struct CheckPlan {
  const CheckSettings& settings;
  const Target* target = nullptr;
  Pool* pool = nullptr;      // of HTTP, which keeps the connection for the next check
  std::string request = {};  // that is sent; empty: nothing
  ProxyHeaderBytes preamble = {};
};

class CheckHandler {
 public:
  // `reason` in a few words, for a pass as well: "connection refused", "HTTP 200".
  virtual void on_check(bool passed, std::string_view reason) noexcept = 0;

 protected:
  ~CheckHandler() = default;
};

class Check {
 public:
  virtual void time_out() noexcept = 0;  // tells the outcome
  virtual void cancel() noexcept = 0;    // and does not

 protected:
  ~Check() = default;
};

// The handler is called from the loop, never from inside begin. Null: it cannot begin now (out of memory; the name of a
// UDP backend is being looked up), and nothing is told.
Check* begin_stream_check(Context& context, const CheckPlan& plan, CheckHandler& handler) noexcept;
Check* begin_datagram_check(Context& context, const CheckPlan& plan, CheckHandler& handler) noexcept;

// What came first of an answer, kept for a reason.
inline constexpr std::size_t kHeardOfAnswer = 48;
// `answered "220 mail\r\n" instead of "250"`: shortened and printable.
std::string answered_instead(std::string_view heard, std::string_view expected);
std::string no_answer_in(Duration timeout);

}  // namespace portolan::relay
