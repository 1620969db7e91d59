// Checks over a stream: connect, TLS, send and expect, HTTP.
#include "base/callback.h"
#include "base/net_error.h"
#include "base/units.h"
#include "plugins/relay/check.h"
#include "plugins/relay/http_check.h"

#include <fmt/format.h>

#include <algorithm>
#include <new>
#include <utility>

namespace portolan::relay {
namespace {

// An answer that goes on without what is expected has failed, however much time there is.
constexpr std::size_t kMaxAnswer = 1024 * 1024;
// A longer body of an HTTP answer is not waited for: the connection is closed instead.
constexpr std::uint64_t kMaxBody = 64 * 1024;

class StreamCheck final : public Check, private DialHandler, private StreamHandler {
 public:
  StreamCheck(Context& context, const CheckPlan& plan, CheckHandler& handler) noexcept
      : context_(context), plan_(plan), handler_(&handler), deadline_(context.now() + plan.settings.timeout) {}

  bool connect() noexcept {
    const Duration left = deadline_ - context_.now();
    dial_ = plan_.pool ? plan_.pool->acquire(left, *this)
                       : context_.dial(*plan_.target, left, *this, plan_.preamble.view());
    return static_cast<bool>(dial_);
  }
  void time_out() noexcept override {
    tell_end(NetError::timed_out, {});
    end();
  }
  void cancel() noexcept override {
    handler_ = nullptr;
    end();
  }

 private:
  StreamHandler* on_dial(Stream& stream) noexcept override;
  void on_dial_failed(NetError why, std::string_view message) noexcept override;
  std::size_t on_data(Stream& stream, std::span<const std::byte> data) noexcept override;
  bool on_end(Stream& stream, std::span<const std::byte> rest) noexcept override;
  void on_close(Stream& stream, NetError why) noexcept override;

  std::size_t look_for_expected(Stream& stream, std::string_view text) noexcept;
  std::size_t read_http(Stream& stream, std::string_view text) noexcept;
  void hear(std::string_view text) noexcept;
  bool http() const noexcept { return plan_.settings.kind == CheckKind::http; }
  // A connection that had been used before: its peer had closed it already.
  bool to_be_repeated() const noexcept { return handler_ && reused_ && heard_.empty(); }

  void tell(bool passed, std::string_view reason) noexcept {
    if (CheckHandler* handler = std::exchange(handler_, nullptr)) handler->on_check(passed, reason);
  }
  // It is over without what was hoped for.
  void tell_end(NetError why, std::string_view message) noexcept;
  void fail(Stream& stream, std::string_view reason) noexcept {
    tell(false, reason);
    stream.reset();
  }
  void end() noexcept {
    if (stream_) return stream_->reset();  // on_close deletes this
    dial_.cancel();
    delete this;
  }

  Context& context_;
  const CheckPlan& plan_;
  CheckHandler* handler_;  // until it was told
  const Duration deadline_;
  DialHandle dial_;
  Stream* stream_ = nullptr;
  std::string heard_;         // the first of the answer
  std::size_t consumed_ = 0;  // of it
  std::uint64_t body_ = 0;    // of it that is still to come
  std::uint16_t status_ = 0;  // once the head has come
  bool reused_ = false;
};

StreamHandler* StreamCheck::on_dial(Stream& stream) noexcept {
  dial_.forget();
  if (plan_.settings.kind == CheckKind::connect || plan_.settings.kind == CheckKind::tls) {
    tell(true, "connected");
    delete this;
    return nullptr;
  }
  stream_ = &stream;
  reused_ = stream.bytes_out() != 0;
  if (!plan_.request.empty()) stream.write(plan_.request);
  return this;
}

void StreamCheck::on_dial_failed(NetError why, std::string_view message) noexcept {
  dial_.forget();
  tell_end(why, message);
  delete this;
}

std::size_t StreamCheck::on_data(Stream& stream, std::span<const std::byte> data) noexcept {
  if (!handler_) return data.size();
  const std::string_view text(reinterpret_cast<const char*>(data.data()), data.size());
  hear(text);
  return http() ? read_http(stream, text) : look_for_expected(stream, text);
}

void StreamCheck::hear(std::string_view text) noexcept {
  if (heard_.size() >= kHeardOfAnswer || status_ != 0) return;
  // What was not consumed is in `text` again.
  contain("an answer", [&] { heard_.append(text.substr(heard_.size() - consumed_, kHeardOfAnswer - heard_.size())); });
}

std::size_t StreamCheck::look_for_expected(Stream& stream, std::string_view text) noexcept {
  const std::string& expect = plan_.settings.expect;
  if (text.contains(expect)) {
    tell(true, "answered");
    stream.close();
    return text.size();
  }
  // The rest may be the beginning of it.
  const std::size_t used = text.size() - std::min(text.size(), expect.size() - 1);
  consumed_ += used;
  if (consumed_ > kMaxAnswer) contain("a reason", [&] { fail(stream, answered_instead(heard_, expect)); });
  return used;
}

std::size_t StreamCheck::read_http(Stream& stream, std::string_view text) noexcept {
  std::size_t used = 0;
  while (status_ == 0) {
    const auto head = parse_http_head(text.substr(used));
    if (!head) {
      if (!head.error().refused.empty()) fail(stream, head.error().refused);
      return used;
    }
    used += head->size;
    consumed_ += head->size;
    // "100 Continue" and its like come before the answer (RFC 9110 section 15.2).
    if (head->status < 200 && head->status != 101) {
      if (consumed_ <= kMaxHttpHead) continue;
      fail(stream, "it does not come to an answer");
      return used;
    }
    status_ = head->status;
    const bool reusable = plan_.pool && head->keeps_alive && *head->body <= kMaxBody && status_ != 101;
    if (!reusable) {
      tell_end(NetError::none, {});
      stream.close();
      return text.size();
    }
    body_ = *head->body;
  }
  const std::uint64_t part = std::min<std::uint64_t>(body_, text.size() - used);
  body_ -= part;
  used += static_cast<std::size_t>(part);
  if (body_ > 0) return used;
  tell_end(NetError::none, {});
  plan_.pool->give_back(stream);
  delete this;
  return used;
}

bool StreamCheck::on_end(Stream&, std::span<const std::byte>) noexcept {
  if (!to_be_repeated()) tell_end(NetError::none, {});
  return false;
}

void StreamCheck::on_close(Stream&, NetError why) noexcept {
  stream_ = nullptr;
  if (to_be_repeated() && connect()) return;
  tell_end(why, {});
  delete this;
}

void StreamCheck::tell_end(NetError why, std::string_view message) noexcept {
  if (!handler_) return;
  const CheckSettings& settings = plan_.settings;
  contain("the outcome of a check", [&] {
    if (status_ != 0) return tell(settings.passes(status_), fmt::format("HTTP {}", status_));
    if (why == NetError::timed_out) {
      if (!stream_) return tell(false, fmt::format("no connection in {}", format_duration(settings.timeout)));
      if (heard_.empty()) return tell(false, no_answer_in(settings.timeout));
    }
    if (!heard_.empty()) {
      return tell(false, http() ? "it ended in the head of its answer" : answered_instead(heard_, settings.expect));
    }
    if (why == NetError::none) return tell(false, "it closed without an answer");
    // What TLS or a resolver has to say is in no other word.
    const bool worded = why == NetError::tls || why == NetError::name_not_found || why == NetError::system;
    tell(false, worded && !message.empty() ? message : to_sentence(why));
  });
  tell(false, "out of memory");
}

}  // namespace

Check* begin_stream_check(Context& context, const CheckPlan& plan, CheckHandler& handler) noexcept {
  auto* check = new (std::nothrow) StreamCheck(context, plan, handler);
  if (!check || check->connect()) return check;
  check->cancel();
  return nullptr;
}

}  // namespace portolan::relay
