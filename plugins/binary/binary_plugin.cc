// The binary plugin: length-prefixed frames, echoed, reversed, or answered by a script.
#include "plugin/descriptor.h"
#include "plugins/binary/session.h"

#include <new>
#include <string_view>

namespace portolan {
namespace {

constexpr Option kOptions[] = {
    {.key = "mode",
     .type = OptionType::choice,
     .fallback = "typed",
     .help = "frames with a type byte behind the length, or without one: those are sent back as they come",
     .choices = "typed|plain"},
    {.key = "max_frame",
     .type = OptionType::size,
     .fallback = "64KiB",
     .help = "longest payload; a greater length ends the session before a byte of the payload is kept",
     .min = 1,
     .max = 16 * 1024 * 1024},
    {.key = "unknown_type",
     .type = OptionType::choice,
     .fallback = "refuse",
     .help = "a type other than 1, 2, 3 that on_frame does not answer: end the session, or count it and go on",
     .choices = "refuse|ignore"},
};

constexpr HookDeclaration kHooks[] = {
    {.name = "on_frame",
     .signature = "(type, payload, session) -> payload [, type] | nil [, reason]",
     .help =
         "answers a frame of a type other than 1, 2, 3; nil answers nothing, a reason goes to the log; it may wait"},
};

// The order of binary::Count.
constexpr CounterDeclaration kCounters[] = {
    {.name = "unknown_types", .help = "frames of a type that nobody answered"},
    {.name = "truncated_frames", .help = "sessions that ended in the middle of a frame"},
    {.name = "quits", .help = "frames of type 3"},
    {.name = "rejected", .help = "frames to which on_frame returned nil"},
    {.name = "bad_answers", .help = "answers of on_frame that no frame can carry"},
};

void validate(const Options& options, Problems& problems) noexcept {
  if (options.text("mode") != "plain") return;
  if (options.has("unknown_type")) problems.add("unknown_type", "needs mode = \"typed\": plain frames have no type");
  if (options.has_hook("on_frame")) {
    problems.add("on_frame", "needs mode = \"typed\": plain frames have no type and are all sent back");
  }
}

Service* make(Context& context, const Options& options, Problems& problems) noexcept {
  const bool plain = options.text("mode") == "plain";
  Service* service = new (std::nothrow) binary::FrameService(
      context, {.limits = {.form = plain ? binary::FrameForm::plain : binary::FrameForm::typed,
                           .max_payload = static_cast<std::uint32_t>(options.integer("max_frame"))},
                .refuse_unknown = options.text("unknown_type") == "refuse",
                .on_frame = context.hook("on_frame")});
  if (!service) problems.add("", "cannot be made: out of memory");
  return service;
}

}  // namespace

extern const Descriptor plugin_binary;
const Descriptor plugin_binary = {
    .name = "binary",
    .summary = "length-prefixed frames: echoed, reversed, or answered by a script",
    .transports = kStreams | kUdp,
    .placement = Placement::every_worker,
    .options = kOptions,
    .hooks = kHooks,
    .counters = kCounters,
    .validate = validate,
    .make = make,
};

}  // namespace portolan
