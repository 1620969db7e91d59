// The rudp plugin: messages and files of the seed formats, and those of rudp itself, on one port.
#include "plugin/descriptor.h"
#include "plugins/rudp/service.h"

#include <new>
#include <string_view>

namespace portolan {
namespace {

constexpr Option kOptions[] = {
    {.key = "mode",
     .type = OptionType::choice,
     .fallback = "echo",
     .help = "what is done with messages and streams: sent back, or taken and forgotten; or files are received instead",
     .choices = "echo|sink|files"},
    {.key = "folder", .type = OptionType::text, .help = "where files go, with mode = \"files\"; absolute", .min = 1},
    {.key = "max_file",
     .type = OptionType::size,
     .fallback = "1GiB",
     .help = "the longest file that is taken",
     .min = 1,
     .max = 1'099'511'627'776.0},
    {.key = "keep_free",
     .type = OptionType::size,
     .fallback = "64MiB",
     .help = "of the folder's file system: no file is taken beyond it",
     .min = 0,
     .max = 1'099'511'627'776.0},
};

constexpr HookDeclaration kHooks[] = {
    {.name = "on_message",
     .signature = "(text, session) -> string | nil",
     .help = "makes the answer to a message, of rudp or of the seed format; nil answers nothing"},
};

// The order of rudp_service::Count.
constexpr CounterDeclaration kCounters[] = {
    {.name = "files", .help = "received whole"},
    {.name = "files_failed", .help = "begun and not taken: the log says why"},
    {.name = "unanswered",
     .help = "messages whose answer was too long or found no room, and those to mode = \"files\""},
};

void validate(const Options& options, Problems& problems) noexcept {
  const bool files = options.text("mode") == "files";
  if (files && !options.text("folder").starts_with('/'))
    problems.add("folder", "is missing: mode = \"files\" needs an absolute path");
  for (const std::string_view key : {"folder", "max_file", "keep_free"})
    if (!files && options.has(key)) problems.add(key, "needs mode = \"files\"");
  if (files && options.has_hook("on_message"))
    problems.add("on_message", "needs mode = \"echo\" or \"sink\": there are no messages in mode = \"files\"");
}

rudp_service::Mode mode_of(std::string_view name) noexcept {
  if (name == "files") return rudp_service::Mode::files;
  return name == "sink" ? rudp_service::Mode::sink : rudp_service::Mode::echo;
}

Service* make(Context& context, const Options& options, Problems& problems) noexcept {
  try {
    return new rudp_service::RudpService(context,
                                         {.mode = mode_of(options.text("mode")),
                                          .folder = std::string(options.text("folder")),
                                          .max_file = static_cast<std::uint64_t>(options.integer("max_file")),
                                          .keep_free = static_cast<std::uint64_t>(options.integer("keep_free"))});
  } catch (const std::bad_alloc&) {
    problems.add("", "cannot be made: out of memory");
    return nullptr;
  }
}

}  // namespace

extern const Descriptor plugin_rudp;
const Descriptor plugin_rudp = {
    .name = "rudp",
    .summary = "answers messages and takes files over reliable UDP, its own and the plain stop-and-wait formats",
    .transports = kRudp,
    .placement = Placement::every_worker,
    .options = kOptions,
    .hooks = kHooks,
    .counters = kCounters,
    .rudp_datagrams = true,
    .validate = validate,
    .make = make,
};

}  // namespace portolan
