// The chat plugin: rooms in which people talk, by lines or by JSON objects.
#include "net/address.h"
#include "plugin/descriptor.h"
#include "plugins/chat/chat_service.h"
#include "plugins/chat/text.h"

#include <fmt/format.h>

#include <exception>
#include <memory>
#include <new>

namespace portolan {
namespace {

constexpr Option kBridgeFields[] = {
    {.key = "address",
     .type = OptionType::address,
     .help = "the group: udp://239.1.2.3:5000 (multicast) or udp://192.168.1.255:5000 (broadcast)",
     .required = true},
    {.key = "interface",
     .type = OptionType::text,
     .help = "its name or address; without: the system's choice",
     .max = 64},
    {.key = "room", .type = OptionType::text, .help = "without: the first room", .min = 1, .max = 128},
    {.key = "hops",
     .type = OptionType::integer,
     .fallback = "1",
     .help = "how far multicast goes: 1 is this network",
     .min = 0,
     .max = 255},
    {.key = "rate",
     .type = OptionType::rate,
     .fallback = "20/s",
     .help = "messages each way; what is over it is dropped",
     .min = 0,
     .max = 1'000'000},
};

constexpr Option kOptions[] = {
    {.key = "format",
     .type = OptionType::choice,
     .fallback = "auto",
     .help = "lines of text, an object of JSON on each line, or as the first line after the name begins: with { or not",
     .choices = "auto|text|json"},
    {.key = "max_line",
     .type = OptionType::size,
     .fallback = "4KiB",
     .help = "longest line, without its ending; a longer one is dropped with an answer, and the session goes on",
     .min = 64,
     .max = 64 * 1024},
    {.key = "room",
     .type = OptionType::text,
     .fallback = "lobby",
     .help = "the first room, where everybody begins and which is always there",
     .min = 1,
     .max = 128},
    {.key = "welcome",
     .type = OptionType::text,
     .fallback = "Welcome. /help lists the commands.",
     .help = "what a newcomer is told",
     .min = 0,
     .max = 1024},
    {.key = "max_rooms",
     .type = OptionType::integer,
     .fallback = "100",
     .help = "rooms at the same time; one that is empty is gone",
     .min = 1,
     .max = 100'000},
    {.key = "history",
     .type = OptionType::integer,
     .fallback = "100",
     .help = "messages of a room that are kept in memory for /history; 0: none",
     .min = 0,
     .max = 100'000},
    {.key = "history_bytes",
     .type = OptionType::size,
     .fallback = "256KiB",
     .help = "the same, in bytes: whichever is reached first",
     .min = 1024,
     .max = 64 * 1024 * 1024},
    {.key = "keep_history",
     .type = OptionType::boolean,
     .fallback = "false",
     .help = "keep what is said in the database (the view chat_log), and show it in /history after a restart"},
    {.key = "queue",
     .type = OptionType::integer,
     .fallback = "1000",
     .help = "messages that wait for a member who reads too slowly",
     .min = 1,
     .max = 1'000'000},
    {.key = "queue_bytes",
     .type = OptionType::size,
     .fallback = "256KiB",
     .help = "the same, in bytes: whichever is reached first",
     .min = 1024,
     .max = 64 * 1024 * 1024},
    {.key = "slow_reader",
     .type = OptionType::choice,
     .fallback = "drop_oldest",
     .help = "when the queue is full: the oldest messages give way, and he is told how many he missed; or he goes",
     .choices = "drop_oldest|disconnect"},
    {.key = "user_rate",
     .type = OptionType::rate,
     .fallback = "20/s",
     .help = "lines of one user; what comes faster is dropped, and he is told",
     .min = 0,
     .max = 1'000'000},
    {.key = "operator_password",
     .type = OptionType::text,
     .help = "with it, /oper makes a user an operator of all rooms; without, nobody is one",
     .min = 8,
     .max = 128},
    {.key = "bridge",
     .type = OptionType::table,
     .help = "what is said in a room is sent to a group of UDP, and the other way round",
     .fields = kBridgeFields,
     .short_key = "address"},
};

constexpr HookDeclaration kHooks[] = {
    {.name = "on_join",
     .signature = "(user, room, session) -> nil | false, reason",
     .help = "a newcomer, one who goes to another room, or one who changes his name: false refuses it; it may wait, as "
             "the others"},
    {.name = "on_message",
     .signature = "(user, text, room) -> text | nil, reason",
     .help = "what is said instead; nil or false with a reason refuses it; nothing or true leaves it as it is"},
    {.name = "on_command",
     .signature = "(user, command, arguments) -> text | nil",
     .help = "the answer to a command that the plugin does not have; nil: there is none"},
};

// The order of chat::Count.
constexpr CounterDeclaration kCounters[] = {
    {.name = "joins", .help = "users who have found a name"},
    {.name = "names_refused", .help = "names that could not be had: taken, or none"},
    {.name = "said", .help = "messages to a room or to one user"},
    {.name = "delivered", .help = "of them and of announcements, how many have been written to receivers"},
    {.name = "missed", .help = "messages that had no room in the queue of a slow reader"},
    {.name = "texts_refused",
     .help = "lines that were too long, no UTF-8, no JSON, too fast, muted, or refused by a hook"},
    {.name = "commands", .help = "lines that began with /"},
    {.name = "kicks", .help = "members who were kicked or banned"},
    {.name = "bridged", .help = "messages from a room to a group, and from a group to a room"},
    {.name = "bridge_dropped", .help = "of both, those that were too many, too long, or none"},
};

constexpr CommandDeclaration kCommands[] = {
    {.name = "members", .help = "who is here, and in which room", .question = true},
    {.name = "rooms", .help = "the rooms", .question = true},
    {.name = "say", .arguments = "text=TEXT [room=ROOM]", .help = "tells a room, or all, something"},
    {.name = "kick", .arguments = "name=NAME [reason=TEXT]", .help = "ends a member's session"},
};

void validate(const Options& options, Problems& problems) noexcept {
  if (const auto problem = chat::name_problem(options.text("room")); !problem.empty())
    problems.add("room", problem == "is empty" ? "is empty: a room has a name" : problem);
  if (std::string welcome(options.text("welcome")); !chat::clean(welcome)) problems.add("welcome", "is not UTF-8");
  if (!options.has("bridge")) return;
  const Options& bridge = options.table("bridge");
  const auto endpoint = Endpoint::parse(bridge.text("address"));
  if (endpoint &&
      (endpoint->transport != Transport::udp || !endpoint->address.is_v4() || endpoint->address.port() == 0))
    problems.add("bridge.address", "expected a group of IPv4 with its port, as in udp://239.1.2.3:5000");
  if (const std::string_view room = bridge.text("room"); !room.empty()) {
    if (const auto problem = chat::name_problem(room); !problem.empty()) problems.add("bridge.room", problem);
  }
}

Service* make(Context& context, const Options& options, Problems& problems) noexcept {
  try {
    auto* state = static_cast<chat::ChatState*>(context.shared_state(chat::ChatState::make));
    if (!state) throw std::bad_alloc();
    const auto size = [&](std::string_view key) { return static_cast<std::size_t>(options.integer(key)); };
    const std::string_view format = options.text("format");
    chat::Settings settings{
        .format = format == "json"   ? chat::FormatChoice::json
                  : format == "text" ? chat::FormatChoice::text
                                     : chat::FormatChoice::automatic,
        .max_line = size("max_line"),
        .room = std::string(options.text("room")),
        .welcome = std::string(options.text("welcome")),
        .max_rooms = size("max_rooms"),
        .history = {.messages = size("history"), .bytes = size("history_bytes")},
        .keep_history = options.boolean("keep_history"),
        .queue = {.messages = size("queue"),
                  .bytes = size("queue_bytes"),
                  .drop_oldest = options.text("slow_reader") == "drop_oldest"},
        .user_rate = RateLimit(options.number("user_rate")),
        .operator_password = std::string(options.text("operator_password")),
    };
    chat::clean(settings.welcome);
    if (options.has("bridge")) {
      const Options& bridge = options.table("bridge");
      settings.bridge = {.room = std::string(bridge.text("room")),
                         .address = std::string(bridge.text("address")),
                         .interface = std::string(bridge.text("interface")),
                         .hops = static_cast<unsigned>(bridge.integer("hops")),
                         .rate = RateLimit(bridge.number("rate"))};
    }
    auto service = std::make_unique<chat::ChatService>(context, std::move(settings), *state);
    return service->start(problems) ? service.release() : nullptr;
  } catch (const std::exception& problem) {
    problems.add("", problem.what());
    return nullptr;
  }
}

}  // namespace

extern const Descriptor plugin_chat;
const Descriptor plugin_chat = {
    .name = "chat",
    .summary = "rooms in which people talk, by lines or by JSON objects",
    .transports = kStreams,
    .options = kOptions,
    .hooks = kHooks,
    .counters = kCounters,
    .commands = kCommands,
    .idle_timeout = std::chrono::hours(24),
    .validate = validate,
    .make = make,
};

}  // namespace portolan
