// The echo plugin: sends back what it receives, as bytes or line by line.
#include "plugin/descriptor.h"
#include "plugins/echo/session.h"

#include <iterator>
#include <new>
#include <string_view>

namespace portolan {
namespace {

constexpr Option kOptions[] = {
    {.key = "mode",
     .type = OptionType::choice,
     .fallback = "raw",
     .help = "send back bytes as they come, or answer line by line",
     .choices = "raw|lines"},
    {.key = "transform",
     .type = OptionType::choice,
     .fallback = "none",
     .help = "what is done to a line: nothing, a..z to A..Z, or `prefix` put in front",
     .choices = "none|upper|prefix"},
    {.key = "prefix",
     .type = OptionType::text,
     .fallback = "Echo: ",
     .help = "what transform = \"prefix\" puts in front of a line",
     .min = 0,
     .max = 1024},
    {.key = "max_line",
     .type = OptionType::size,
     .fallback = "8KiB",
     .help = "longest line, without its ending; a longer one is answered with an error and ends the session",
     .min = 1,
     .max = 1024 * 1024},
    {.key = "quit", .type = OptionType::boolean, .fallback = "true", .help = "a line `quit` ends the session"},
};
constexpr std::string_view kLineOptions[] = {"transform", "prefix", "max_line", "quit"};

constexpr HookDeclaration kHooks[] = {
    {.name = "on_line",
     .signature = "(line, session) -> string | nil, reason",
     .help = "makes the answer to a line; nil answers nothing, with a reason it answers `error: reason`"},
};

// The order of echo::Count.
constexpr CounterDeclaration kCounters[] = {
    {.name = "quits", .help = "sessions ended by a line `quit`"},
    {.name = "rejected", .help = "lines to which on_line returned nil"},
};

void validate(const Options& options, Problems& problems) noexcept {
  if (options.text("mode") == "raw") {
    for (const std::string_view key : kLineOptions) {
      if (options.has(key))
        problems.add(key, "needs mode = \"lines\": bytes are sent back as they come (mode = \"raw\")");
    }
    if (options.has_hook("on_line")) {
      problems.add("on_line", "needs mode = \"lines\": there are no lines in mode = \"raw\"");
    }
    return;
  }
  const std::string_view transform = options.text("transform");
  if (options.has("prefix") && transform != "prefix") {
    problems.add("prefix", "needs transform = \"prefix\"; without it nothing is put in front of a line");
  }
  if (options.has_hook("on_line") && transform != "none") {
    problems.add("on_line", "takes the place of the transform: remove one of the two");
  }
}

echo::Transform transform_of(std::string_view name) noexcept {
  if (name == "upper") return echo::Transform::upper;
  return name == "prefix" ? echo::Transform::prefix : echo::Transform::none;
}

Service* make(Context& context, const Options& options, Problems& problems) noexcept {
  Service* service = nullptr;
  if (options.text("mode") == "raw") {
    service = new (std::nothrow) echo::RawEcho;
  } else {
    service =
        new (std::nothrow) echo::LineEcho(context, {.transform = transform_of(options.text("transform")),
                                                    .prefix = options.text("prefix"),
                                                    .max_line = static_cast<std::size_t>(options.integer("max_line")),
                                                    .quit = options.boolean("quit"),
                                                    .on_line = context.hook("on_line")});
  }
  if (!service) problems.add("", "cannot be made: out of memory");
  return service;
}

}  // namespace

extern const Descriptor plugin_echo;
const Descriptor plugin_echo = {
    .name = "echo",
    .summary = "sends back what it receives, as bytes or line by line",
    .transports = kStreams | kUdp,
    .placement = Placement::every_worker,
    .options = kOptions,
    .hooks = kHooks,
    .counters = kCounters,
    .validate = validate,
    .make = make,
};

}  // namespace portolan
