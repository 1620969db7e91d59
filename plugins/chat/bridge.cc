#include "plugins/chat/bridge.h"

#include "base/callback.h"
#include "plugins/chat/chat_service.h"
#include "plugins/chat/codec.h"
#include "plugins/chat/text.h"

#include <fmt/format.h>

#include <utility>

namespace portolan::chat {

std::unique_ptr<Bridge> Bridge::make(ChatService& service, const BridgeSettings& settings, std::string_view first_room,
                                     Problems& problems) {
  const std::string_view name = settings.room.empty() ? first_room : std::string_view(settings.room);
  std::unique_ptr<Bridge> bridge(new Bridge(service, settings, service.state().watch(name, service.hub().worker())));
  bridge->link_ =
      service.context().join({.address = settings.address, .interface = settings.interface, .hops = settings.hops},
                             *bridge, "bridge", problems);
  return bridge->link_ ? std::move(bridge) : nullptr;
}

Bridge::Bridge(ChatService& service, const BridgeSettings& settings, std::shared_ptr<Room> room)
    : service_(service),
      room_(std::move(room)),
      via_(fmt::format(",\"via\":\"{:016x}\"}}", service.state().identity())),
      rate_(settings.rate) {}

Bridge::~Bridge() {
  if (link_) link_->release();
  service_.state().unwatch(room_, service_.hub().worker());
}

bool Bridge::over(RateState& state) noexcept {
  return rate_.limited() && rate_.take(state, service_.now(), 1) > Duration::zero();
}

void Bridge::forward(const Message& message) noexcept {
  constexpr std::string_view kNotice = "{\"from\":\"System\"";
  const std::string_view line = message.line(Format::json);
  if (message.sender() == kGroup || message.sender() == 0 || line.starts_with(kNotice)) return;
  if (line.size() + via_.size() > kMaxDatagram || over(rate_out_)) return service_.count(kBridgeDropped);
  contain("a message to a group", [&] {
    std::string datagram(line.substr(0, line.size() - 2));  // without "}\n"
    datagram += via_;
    link_->send(std::as_bytes(std::span(datagram)));
    service_.count(kBridged);
  });
}

void Bridge::on_datagram(std::span<const std::byte> data) noexcept {
  // One that is prepared, or was replaced, hears what the serving one hears.
  if (service_.draining() || &service_.serving() != &service_) return;
  contain("a message of a group", [&] { receive({reinterpret_cast<const char*>(data.data()), data.size()}); });
}

void Bridge::receive(std::string_view line) {
  if (line.size() > kMaxDatagram || over(rate_in_)) return service_.count(kBridgeDropped);
  ClientObject object = parse_object(line);
  if (!object.via.empty() && via_.find(object.via) != std::string::npos) return;  // our own
  std::string& text = object.content;
  if (!object.problem.empty() || !name_problem(object.from).empty() || !clean(text) || text.empty() ||
      text.size() > service_.settings().max_line)
    return service_.count(kBridgeDropped);
  const std::string name = object.from + std::string(kLanSuffix);
  auto verdict = service_.ask_message(name, text, room_->name, nullptr);
  if (!verdict.passes) return service_.count(kRefusedTexts);
  if (verdict.changed) text = std::move(verdict.text);
  service_.count(kBridged);
  service_.said(room_, kGroup, {.from = name, .content = text, .time = service_.hub().clock_text()});
}

}  // namespace portolan::chat
