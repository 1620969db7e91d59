// The relay plugin: forwards streams to a backend.
#include "plugin/descriptor.h"
#include "plugin/service.h"

#include <new>

namespace portolan {
namespace {

constexpr Option kOptions[] = {
    {.key = "backends", .type = OptionType::target, .help = "where to", .required = true, .list = true},
};

class Relay;
class Session final : public StreamHandler, public DialHandler {
 public:
  Session(Context& context, const Target& target, Stream& client) : client_(&client) {
    client.pause();
    dial_ = context.dial(target, std::chrono::seconds(5), *this);
  }
  StreamHandler* on_dial(Stream& stream) noexcept override {
    dial_.forget();
    backend_ = &stream;
    client_->join(stream);
    return this;
  }
  void on_dial_failed(NetError, std::string_view) noexcept override {
    dial_.forget();
    client_->reset();
  }
  std::size_t on_data(Stream&, std::span<const std::byte> data) noexcept override { return data.size(); }
  void on_close(Stream& stream, NetError) noexcept override {
    (&stream == client_ ? client_ : backend_) = nullptr;
    dial_.cancel();
    if (!client_ && !backend_)
      delete this;
    else if (client_)
      client_->reset();
    else
      backend_->reset();
  }

 private:
  DialHandle dial_;
  Stream* client_;
  Stream* backend_ = nullptr;
};

class Relay final : public Service {
 public:
  Relay(Context& context, const Target& target) : context_(context), target_(target) {}
  StreamHandler* open(Stream& stream) noexcept override {
    return new (std::nothrow) Session(context_, target_, stream);
  }

 private:
  Context& context_;
  const Target& target_;
};

Service* make(Context& context, const Options& options, Problems& problems) noexcept {
  const Target* target = context.target({.address = options.text_at("backends", 0)}, "backends", problems);
  if (!target) return nullptr;
  return new (std::nothrow) Relay(context, *target);
}

}  // namespace

extern const Descriptor plugin_relay;
const Descriptor plugin_relay = {
    .name = "relay",
    .summary = "forwards to backends",
    .transports = kStreams,
    .options = kOptions,
    .make = make,
};

}  // namespace portolan
