// The script plugin: a protocol written in Lua. Each session is a task, each datagram another.
#include "plugin/descriptor.h"
#include "plugin/service.h"

#include <new>

namespace portolan {
namespace {

constexpr Option kOptions[] = {
    {.key = "max_message",
     .type = OptionType::size,
     .fallback = "64KiB",
     .help = "the most that a script may read at once: a line, a frame, a number of bytes",
     .min = 16,
     .max = 16.0 * 1024 * 1024},
};

constexpr HookDeclaration kHooks[] = {
    {.name = "on_session",
     .signature = "(session)",
     .help = "serves a session: reads, writes and waits as it likes; when it returns, the session closes"},
    {.name = "on_datagram",
     .signature = "(datagram)",
     .help = "handles a datagram: its text is datagram.data, datagram:reply(text) answers it"},
    {.name = "on_start",
     .signature = "()",
     .help = "runs beside the sessions, on every worker, from the start of the service to its end"},
};

class ScriptedService final : public Service, private TimerHandler {
 public:
  ScriptedService(Context& context, std::size_t max_message)
      : on_session_(context.hook("on_session")),
        on_datagram_(context.hook("on_datagram")),
        on_start_(context.hook("on_start")),
        max_message_(max_message) {
    if (!on_start_) return;
    // Once the service is made: it may be this that the script uses first.
    timer_ = context.timer(*this);
    timer_->start(Duration::zero(), false);
  }

  StreamHandler* open(Stream& stream) noexcept override { return on_session_->serve(stream); }
  void on_datagram(DatagramPeer& peer, std::span<const std::byte> data) noexcept override {
    on_datagram_->receive(peer, data);
  }
  // Beside a message its ending, or the length in front of it, has to fit.
  std::size_t input_limit() const noexcept override { return max_message_ + 2048; }

 private:
  void on_timer() noexcept override { on_start_->start({}); }

  Hook* const on_session_;
  Hook* const on_datagram_;
  Hook* const on_start_;
  const std::size_t max_message_;
  TimerHandle timer_;
};

void validate(const Options& options, Problems& problems) noexcept {
  const std::uint8_t listens = options.listens();
  if (!listens && !options.has_hook("on_start"))
    problems.add("listen", "is missing: a script listens to something, or has an on_start that does something else");
  if ((listens & kStreams) && !options.has_hook("on_session"))
    problems.add("on_session", "is missing: a function (session) that serves what connects");
  if ((listens & kUdp) && !options.has_hook("on_datagram"))
    problems.add("on_datagram", "is missing: a function (datagram) that handles what arrives");
}

Service* make(Context& context, const Options& options, Problems& problems) noexcept {
  const auto max_message = static_cast<std::size_t>(options.integer("max_message"));
  auto* service = new (std::nothrow) ScriptedService(context, max_message);
  if (!service) problems.add("", "cannot be made: out of memory");
  return service;
}

}  // namespace

extern const Descriptor plugin_script;
const Descriptor plugin_script = {
    .name = "script",
    .summary = "a protocol of your own, written in Lua",
    .transports = kStreams | kUdp,
    .listens_always = false,
    .placement = Placement::every_worker,
    .options = kOptions,
    .hooks = kHooks,
    .validate = validate,
    .make = make,
};

}  // namespace portolan
