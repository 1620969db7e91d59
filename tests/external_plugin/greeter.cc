// A whole plugin of somebody else's: it puts a greeting in front of whatever it receives, lets a hook say otherwise, and
// knows from the store whom it greeted before it was made.
#include <portolan/plugin/descriptor.h>
#include <portolan/plugin/service.h>

#include <new>
#include <string>

namespace {

using namespace portolan;

enum Counters : std::size_t { kGreetings };

class Greeter final : public Service, public StreamHandler, public RecentMessagesHandler {
 public:
  Greeter(Context& context, const Options& options)
      : context_(context), greeting_(options.text("greeting")), on_greet_(context.hook("on_greet")) {
    context.recent_messages("guests", 3, *this);
  }

  StreamHandler* open(Stream&) noexcept override { return this; }  // no state of its own for each session

  std::size_t on_data(Stream& stream, std::span<const std::byte> data) noexcept override {
    if (!stream.admit(data.size())) return 0;
    context_.count(kGreetings);
    const std::string_view guest(reinterpret_cast<const char*>(data.data()), data.size());
    context_.keep_message({.room = "guests", .sender = stream.info().peer, .kind = "greeting", .text = guest});
    const std::string_view text(reinterpret_cast<const char*>(data.data()), data.size());
    HookValue answer[1];
    const HookValue arguments[] = {HookValue::of(text), HookValue::of(stream)};
    if (on_greet_ != nullptr && on_greet_->call(arguments, answer) == Hook::Outcome::returned &&
        answer[0].kind == HookValue::Kind::text) {
      stream.write(answer[0].text);
      return data.size();
    }
    stream.write(greeting_);
    stream.write(data);
    return data.size();
  }

  void on_recent_messages(std::string_view room, std::span<const KeptMessage> messages,
                          std::string_view error) noexcept override {
    for (const KeptMessage& message : messages)
      if (room == "guests" && message.kind == "greeting")
        before_ += (before_.empty() ? "" : ",") + std::string(message.text);
    if (!error.empty()) before_ = error;
  }

  void on_command(const Command& command, CommandAnswer& answer) noexcept override {
    if (command.name == "guests") return answer.json("{\"before\":\"" + before_ + "\"}");
    if (command.name == "greeting") return answer.json("{\"bytes\":" + std::to_string(greeting_.size()) + "}");
    if (command.name != "greet") return;
    if (command["with"].size() > kLongest) return answer.refuse("with: that is longer than 64 bytes");
    greeting_ = command["with"];
    answer.json("{\"ok\":true}");
  }

 private:
  static constexpr std::size_t kLongest = 64;
  Context& context_;
  std::string greeting_;
  std::string before_;
  Hook* on_greet_;
};

constexpr Option kPauseFields[] = {
    {.key = "every", .type = OptionType::duration, .fallback = "10s", .help = "how often", .min = 1, .max = 3600},
    {.key = "for", .type = OptionType::duration, .fallback = "1s", .help = "how long"},
};
constexpr Option kOptions[] = {
    {.key = "greeting",
     .type = OptionType::text,
     .fallback = "hello ",
     .help = "what is put in front",
     .min = 1,
     .max = 64},
    {.key = "pause", .type = OptionType::table, .help = "when it is silent", .fields = kPauseFields},
    {.key = "friends", .type = OptionType::address, .help = "whom it knows", .list = true},
};
constexpr HookDeclaration kHooks[] = {
    {.name = "on_greet", .signature = "(text, session) -> string | nil", .help = "makes the whole answer"},
};
constexpr CommandDeclaration kCommands[] = {
    {.name = "greet", .arguments = "with=TEXT", .help = "another greeting, until the next reload"},
    {.name = "greeting", .help = "how long the greeting is", .question = true},
    {.name = "guests", .help = "whom it greeted before", .question = true},
    {.name = "forgotten", .help = "declared, and not known"},
};
constexpr CounterDeclaration kCounters[] = {{.name = "greetings", .help = "answers given"}};

void validate(const Options& options, Problems& problems) noexcept {
  const Options& pause = options.table("pause");
  if (pause.duration("for") >= pause.duration("every")) {
    problems.add("pause.for", "must be shorter than pause.every");
  }
}

Service* make(Context& context, const Options& options, Problems& problems) noexcept {
  auto* greeter = new (std::nothrow) Greeter(context, options);
  if (greeter == nullptr) problems.add("", "out of memory");
  return greeter;
}

constexpr Descriptor kGreeter = {
    .name = "greeter",
    .summary = "puts a greeting in front of what it receives",
    .transports = kTcp | kUnix,
    .options = kOptions,
    .hooks = kHooks,
    .counters = kCounters,
    .commands = kCommands,
    .validate = validate,
    .make = make,
};

}  // namespace

PORTOLAN_EXPORT_PLUGIN(kGreeter)
