// Checks by a datagram, and the words of a check's reason.
#include "base/callback.h"
#include "base/net_error.h"
#include "base/units.h"
#include "plugins/relay/check.h"

#include <fmt/format.h>

#include <new>
#include <utility>

namespace portolan::relay {
namespace {

// Ends with the first datagram that has what is expected; others are late answers, or of another mind.
class DatagramCheck final : public Check, private DatagramLinkHandler {
 public:
  DatagramCheck(const CheckPlan& plan, CheckHandler& handler) noexcept : plan_(plan), handler_(handler) {}
  ~DatagramCheck() {
    if (link_) link_->release();
  }
  bool begin(Context& context) noexcept {
    // A socket of its own each time: an answer to an earlier check does not come to it.
    link_ = context.link(*plan_.target, *this);
    if (link_) link_->send(std::as_bytes(std::span(plan_.request)));
    return link_ != nullptr;
  }
  void time_out() noexcept override {
    const CheckSettings& settings = plan_.settings;
    std::string reason;
    contain("a reason",
            [&] { reason = answered_ ? answered_instead(heard_, settings.expect) : no_answer_in(settings.timeout); });
    end(false, reason);
  }
  void cancel() noexcept override { delete this; }

 private:
  void on_datagram(std::span<const std::byte> data) noexcept override {
    const std::string_view text(reinterpret_cast<const char*>(data.data()), data.size());
    if (text.contains(plan_.settings.expect)) return end(true, "answered");
    if (!std::exchange(answered_, true)) contain("an answer", [&] { heard_ = text.substr(0, kHeardOfAnswer); });
  }
  void on_refused(NetError why) noexcept override { end(false, to_sentence(why)); }
  void end(bool passed, std::string_view reason) noexcept {
    CheckHandler& handler = handler_;
    handler.on_check(passed, reason);
    delete this;
  }

  const CheckPlan& plan_;
  CheckHandler& handler_;
  DatagramLink* link_ = nullptr;
  bool answered_ = false;
  std::string heard_;
};

std::string quoted(std::string_view bytes) {
  constexpr std::size_t kMost = 32;
  std::string text = "\"";
  for (const char c : bytes.substr(0, kMost)) {
    const auto byte = static_cast<unsigned char>(c);
    if (c == '\r')
      text += "\\r";
    else if (c == '\n')
      text += "\\n";
    else if (c == '"' || c == '\\')
      (text += '\\') += c;
    else if (byte < ' ' || byte > '~')
      text += fmt::format("\\x{:02x}", byte);
    else
      text += c;
  }
  return text + (bytes.size() > kMost ? "…\"" : "\"");
}

}  // namespace

std::string answered_instead(std::string_view heard, std::string_view expected) {
  return fmt::format("answered {} instead of {}", quoted(heard), quoted(expected));
}

std::string no_answer_in(Duration timeout) { return fmt::format("no answer in {}", format_duration(timeout)); }

Check* begin_datagram_check(Context& context, const CheckPlan& plan, CheckHandler& handler) noexcept {
  auto* check = new (std::nothrow) DatagramCheck(plan, handler);
  if (!check || check->begin(context)) return check;
  check->cancel();
  return nullptr;
}

}  // namespace portolan::relay
