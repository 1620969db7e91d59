// The drop box plugin: takes files into a folder, from `portolan send`.
#include "net/network.h"
#include "plugin/descriptor.h"
#include "plugins/drop_box/drop_box.h"

#include <exception>
#include <memory>
#include <string>
#include <string_view>

namespace portolan {
namespace {

constexpr double kMostBytes = 1LL << 52;

constexpr Option kOptions[] = {
    {.key = "folder",
     .type = OptionType::text,
     .help = "where files go; made when it is not there, its own folder must be",
     .min = 1,
     .max = 4000,
     .required = true},
    {.key = "allow",
     .type = OptionType::text,
     .help =
         "who may send: networks such as \"10.0.0.0/8\", and \"unix\" for the peers of unix:// listeners; without it, "
         "whoever gets through",
     .min = 1,
     .max = 64,
     .list = true},
    {.key = "existing",
     .type = OptionType::choice,
     .fallback = "refuse",
     .help =
         "when there is another file of the name: refuse the new one, skip it without a failure, replace the old one, "
         "or rename the new one; the same file is left as it is",
     .choices = "refuse|skip|replace|rename"},
    {.key = "max_file",
     .type = OptionType::size,
     .fallback = "0",
     .help = "the longest file; 0: any",
     .min = 0,
     .max = kMostBytes},
    {.key = "max_transfer",
     .type = OptionType::size,
     .fallback = "0",
     .help = "the most bytes in one transfer; 0: any",
     .min = 0,
     .max = kMostBytes},
    {.key = "max_files",
     .type = OptionType::integer,
     .fallback = "100000",
     .help = "the most files in one transfer; 0: any",
     .min = 0,
     .max = 1'000'000'000},
    {.key = "quota",
     .type = OptionType::size,
     .fallback = "0",
     .help = "the most bytes that the folder may hold, whoever has put them there; 0: what the disk holds",
     .min = 0,
     .max = kMostBytes},
    {.key = "keep_free",
     .type = OptionType::size,
     .fallback = "64MiB",
     .help = "so much stays free on the disk",
     .min = 0,
     .max = kMostBytes},
    {.key = "keep_partial",
     .type = OptionType::duration,
     .fallback = "7d",
     .help = "files that never became whole are removed after so long; 0: never",
     .min = 0,
     .max = 10.0 * 366 * 86400},
};

constexpr HookDeclaration kHooks[] = {
    {.name = "on_file",
     .signature = "(file, session) -> nil | name | false | nil, reason",
     .help =
         "a file {name, size, sha256, modified, new_bytes} is whole and verified, and about to get its name: another "
         "one may be answered; false, or nil with a reason, refuses it; it may wait"},
};

// The order of drop_box::Count.
constexpr CounterDeclaration kCounters[] = {
    {.name = "files", .help = "files that are whole, verified and on the disk"},
    {.name = "file_bytes", .help = "bytes of data that came for files"},
    {.name = "identical", .help = "files that were there already"},
    {.name = "files_refused", .help = "files that were refused, or failed"},
    {.name = "transfers", .help = "transfers that came to their end"},
    {.name = "transfers_refused",
     .help = "transfers that were refused whole: too much, too many, or against the protocol"},
};

void validate(const Options& options, Problems& problems) noexcept {
  for (std::size_t i = 0; i < options.count("allow"); ++i) {
    NetworkList list;
    if (const auto added = list.add(options.text_at("allow", i)); !added) problems.add("allow", added.error());
  }
}

Service* make(Context& context, const Options& options, Problems& problems) noexcept {
  try {
    const auto size = [&](std::string_view key) { return static_cast<std::uint64_t>(options.integer(key)); };
    drop_box::Settings settings{
        .folder = std::string(options.text("folder")),
        .receive = {.existing = *transfer::existing_of(options.text("existing")),
                    .limits = {.max_file = size("max_file"),
                               .max_transfer = size("max_transfer"),
                               .max_files = size("max_files"),
                               .quota = size("quota"),
                               .keep_free = size("keep_free")}},
        .allow = {},
        .keep_partial = options.duration("keep_partial"),
        .on_file = context.hook("on_file"),
    };
    for (std::size_t i = 0; i < options.count("allow"); ++i) {
      if (const auto added = settings.allow.add(options.text_at("allow", i)); !added) {
        problems.add("allow", added.error());
        return nullptr;
      }
    }
    auto service = std::make_unique<drop_box::DropBox>(context, std::move(settings));
    return service->start(problems) ? service.release() : nullptr;
  } catch (const std::exception& problem) {
    problems.add("", problem.what());
    return nullptr;
  }
}

}  // namespace

extern const Descriptor plugin_drop_box;
const Descriptor plugin_drop_box = {
    .name = "drop_box",
    .summary = "takes files into a folder, from `portolan send`",
    .transports = kStreams,
    .placement = Placement::single_worker,
    .options = kOptions,
    .hooks = kHooks,
    .counters = kCounters,
    .validate = validate,
    .make = make,
};

}  // namespace portolan
