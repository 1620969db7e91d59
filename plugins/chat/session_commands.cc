// What a member can order: the lines that begin with "/".
#include "base/clock.h"
#include "base/units.h"
#include "plugins/chat/session.h"
#include "plugins/chat/text.h"

#include <algorithm>
#include <charconv>
#include <string>
#include <utility>

namespace portolan::chat {

struct Session::CommandEntry {
  std::string_view name;
  std::string_view usage;
  std::string_view help;
  void (Session::*run)(std::string_view arguments);
};

namespace {

// A list of names on one line has to end somewhere.
constexpr std::size_t kMostNamed = 200;
constexpr std::size_t kMostTopic = 400;
constexpr Duration kUsualBan = std::chrono::minutes(10);
constexpr Duration kUsualMute = std::chrono::minutes(5);
constexpr Duration kLongest = std::chrono::hours(24 * 365);
constexpr std::uint8_t kMostPasswords = 3;

std::string names_text(const std::vector<ChatState::Person>& people) {
  std::string names;
  for (std::size_t index = 0; index < people.size(); ++index) {
    if (index == kMostNamed) return names + fmt::format(" and {} more", people.size() - index);
    if (index != 0) names += ", ";
    names += people[index].name;
  }
  return names;
}

// As many steps for every text, so that the time of an answer tells nothing of how much was right.
bool same_secret(std::string_view given, std::string_view secret) noexcept {
  unsigned different = given.size() == secret.size() ? 0 : 1;
  for (std::size_t index = 0; index < given.size(); ++index)
    different |= static_cast<unsigned char>(given[index]) ^
                 static_cast<unsigned char>(secret[index < secret.size() ? index : 0]);
  return different == 0;
}

}  // namespace

std::span<const Session::CommandEntry> Session::command_table() noexcept {
  static constexpr CommandEntry kTable[] = {
      {"help", "", "this list", &Session::command_help},
      {"list", "", "everybody who is here", &Session::command_list},
      {"who", "", "the members of your room", &Session::command_who},
      {"rooms", "", "the rooms", &Session::command_rooms},
      {"join", "ROOM", "goes to another room, which is made when there is none", &Session::command_join},
      {"part", "", "goes back to the first room", &Session::command_part},
      {"topic", "[TEXT]", "shows the room's topic; its operator sets it", &Session::command_topic},
      {"msg", "NAME TEXT", "tells one user alone; \"A NAME\" with a space needs the quotation marks",
       &Session::command_msg},
      {"nick", "NAME", "changes your name", &Session::command_nick},
      {"me", "TEXT", "says what you do", &Session::command_me},
      {"history", "[N]", "the last messages of the room", &Session::command_history},
      {"oper", "PASSWORD", "makes you an operator of all rooms", &Session::command_oper},
      {"kick", "NAME [REASON]", "operators: sends somebody out of the room, from the first one away",
       &Session::command_kick},
      {"mute", "NAME [TIME]", "operators: he may not speak in this room for 5m, or TIME; 0 lifts it",
       &Session::command_mute},
      {"ban", "NAME [TIME]", "operators of all rooms: his address is turned away for 10m, or TIME",
       &Session::command_ban},
      {"quit", "", "ends the session", &Session::command_quit},
  };
  return kTable;
}

void Session::handle_command(std::string_view line) {
  const std::string_view name = line.substr(0, std::min(line.find(' '), line.size()));
  std::string_view arguments = line.substr(name.size());
  arguments.remove_prefix(std::min(arguments.find_first_not_of(' '), arguments.size()));
  for (const CommandEntry& command : command_table())
    if (command.name == name) return (this->*command.run)(arguments);
  const auto answer = service_.serving().ask_command(name_, name, arguments, waits_);
  if (answer.waits) return come_again();
  if (!answer.text) return tell("There is no command /{}; /help lists them.", name.substr(0, 64));
  for (std::string_view rest = *answer.text; !rest.empty();) {
    const std::string_view one = rest.substr(0, std::min(rest.find('\n'), rest.size()));
    rest.remove_prefix(std::min(one.size() + 1, rest.size()));
    std::string text(one);
    if (clean(text)) tell(std::string_view(text));
  }
}

// ---- Questions -----------------------------------------------------------------------------------------------

void Session::command_help(std::string_view) {
  for (const CommandEntry& command : command_table())
    tell("/{}{}{}: {}", command.name, command.usage.empty() ? "" : " ", command.usage, command.help);
}

void Session::command_list(std::string_view) {
  const auto people = service_.state().people();
  tell("{} {}: {}", people.size(), people.size() == 1 ? "user" : "users", names_text(people));
}

void Session::command_who(std::string_view) {
  const auto people = service_.state().people(room_.get());
  tell("{} in {}: {}", people.size(), room_->name, names_text(people));
  std::string operators;
  for (const auto& person : people)
    if (person.is_operator || person.staff) operators += (operators.empty() ? "" : ", ") + person.name;
  if (!operators.empty()) tell("Operators: {}", operators);
}

void Session::command_rooms(std::string_view) {
  std::size_t told = 0;
  const auto rooms = service_.state().rooms();
  for (const auto& room : rooms) {
    if (++told > kMostNamed) return tell("and {} more", rooms.size() - kMostNamed);
    tell("{} ({}){}{}", room.name, room.members, room.topic.empty() ? "" : ": ", room.topic);
  }
}

void Session::command_history(std::string_view arguments) {
  std::size_t count = 20;
  if (!arguments.empty()) {
    const auto [end, error] = std::from_chars(arguments.data(), arguments.data() + arguments.size(), count);
    if (error != std::errc{} || end != arguments.data() + arguments.size())
      return tell("Write /history N, with a number.");
  }
  const auto messages = room_->history.last(count, service_.serving().settings().history);
  if (messages.empty()) return tell("Nothing has been said yet.");
  for (const MessageRef& message : messages) stream_.write(message->line(format_));
}

// ---- Rooms and names -----------------------------------------------------------------------------------------

void Session::command_join(std::string_view arguments) {
  const std::string_view room = take_word(arguments);
  if (room.empty() || !arguments.empty()) return tell("Write /join ROOM.");
  go_to(room);
}

void Session::command_part(std::string_view) { go_to({}); }

void Session::go_to(std::string_view room) {
  ChatService& serving = service_.serving();
  if (!room.empty()) {
    const auto verdict = serving.ask_join(name_, room, stream_, waits_);
    if (verdict.waits) return come_again();
    if (!verdict.passes) return tell("Not joined: {}", verdict.text.empty() ? "refused" : verdict.text);
  }
  auto move = service_.state().move(user_, room, serving.settings().max_rooms);
  if (!move) return tell(move.error());
  enter(std::move(*move));
}

void Session::enter(ChatState::Move move) {
  room_ = move.entry.room;
  muted_until_ = move.entry.muted_until;
  service_.hub().change_room(*this, move.from.get());
  service_.serving().recall(*room_);
  service_.announce(move.from, fmt::format("{} left", name_));
  if (move.heir)
    service_.notify(move.heir->id, move.heir->worker, fmt::format("You are the operator of {} now.", move.heir->room));
  tell_room(move.entry);
  service_.announce(room_, fmt::format("{} joined", name_), user_);
}

void Session::command_topic(std::string_view arguments) {
  if (arguments.empty()) {
    const std::string topic = service_.state().topic(*room_);
    return topic.empty() ? tell("There is no topic.") : tell("The topic is: {}", topic);
  }
  if (!is_operator()) return tell("The operator of the room sets its topic, and you are not.");
  if (arguments.size() > kMostTopic) return tell("A topic may have {} bytes.", kMostTopic);
  service_.state().set_topic(*room_, arguments);
  service_.announce(room_, fmt::format("{} set the topic: {}", name_, arguments));
}

void Session::command_nick(std::string_view arguments) {
  if (const auto problem = name_problem(arguments); !problem.empty()) return tell("This name {}.", problem);
  const auto verdict = service_.serving().ask_join(arguments, room_->name, stream_, waits_);
  if (verdict.waits) return come_again();
  if (!verdict.passes) return tell("Not renamed: {}", verdict.text.empty() ? "this name is not welcome" : verdict.text);
  const auto before = service_.state().rename(user_, arguments);
  if (!before) {
    service_.count(kRefusedNames);
    return tell(before.error());
  }
  name_ = arguments;
  tell("You are {} now.", name_);
  service_.announce(room_, fmt::format("{} is now {}", *before, name_), user_);
}

// ---- Speaking ------------------------------------------------------------------------------------------------

void Session::command_me(std::string_view arguments) {
  if (arguments.empty()) return tell("Write /me TEXT.");
  say(std::string(arguments), Words::Kind::action);
}

void Session::command_msg(std::string_view arguments) {
  const std::string_view name = take_word(arguments);
  if (name.empty() || arguments.empty()) return tell("Write /msg NAME TEXT.");
  const auto person = service_.state().find(name);
  if (!person) return tell("There is nobody named {}.", name);
  if (person->id == user_) return tell("You are talking to yourself.");
  std::string text(arguments);
  if (!may_say(text)) return;
  service_.count(kSaid);
  service_.state().post(
      service_.hub().worker(), person->worker,
      {.kind = Post::Kind::direct, .message = message_of(text, Words::Kind::direct), .to = person->id});
  tell("To {}: {}", person->name, text);
}

// ---- Operators -----------------------------------------------------------------------------------------------

bool Session::is_staff() const {
  const auto self = service_.state().find(user_);
  return self && self->staff;
}

bool Session::is_operator() const {
  const auto self = service_.state().find(user_);
  return self && (self->staff || self->is_operator);
}

void Session::command_oper(std::string_view arguments) {
  const std::string& secret = service_.serving().settings().operator_password;
  if (secret.empty()) return tell("There are no operators of all rooms here: operator_password is not set.");
  if (same_secret(arguments, secret)) {
    tries_ = 0;
    service_.state().promote(user_);
    service_.context().event("operator", fmt::format("{} ({}) is an operator", name_, stream_.info().peer));
    return tell("You are an operator of all rooms.");
  }
  service_.context().log(LogLevel::warning, fmt::format("{} gave a wrong operator's password", stream_.info().peer));
  tell("This is not the password.");
  // Counts against the address, where violations lead to bans.
  if (++tries_ >= kMostPasswords) refuse(Refusal::bad_message);
}

std::optional<ChatState::Person> Session::victim(std::string_view name) {
  const auto self = service_.state().find(user_);
  auto person = service_.state().find(name);
  if (!self || (!self->staff && !self->is_operator)) {
    tell("You are not an operator of this room.");
    return std::nullopt;
  }
  if (!person || (person->room != room_ && !self->staff)) {
    tell("There is nobody named {} here.", name);
    return std::nullopt;
  }
  if (person->id == user_ || (person->staff && !self->staff)) {
    tell("Not {}.", person->name);
    return std::nullopt;
  }
  return person;
}

void Session::command_kick(std::string_view arguments) {
  const std::string_view name = take_word(arguments);
  if (name.empty()) return tell("Write /kick NAME [REASON].");
  const auto person = victim(name);
  if (!person) return;
  const std::string why = arguments.empty() ? "" : fmt::format(": {}", arguments);
  // From where all begin there is nowhere to be sent but away.
  const bool away = service_.state().is_first(*person->room);
  service_.count(kKicks);
  service_.announce(person->room, fmt::format("{} was kicked by {}{}", person->name, name_, why), person->id);
  service_.state().post(
      service_.hub().worker(), person->worker,
      {.kind = away ? Post::Kind::kick : Post::Kind::move,
       .room = person->room,
       .message =
           make_message(0, {.kind = Words::Kind::notice,
                            .content = fmt::format("You were kicked from {} by {}{}", person->room->name, name_, why),
                            .time = service_.hub().clock_text()}),
       .to = person->id});
}

namespace {

std::optional<Duration> duration_of(std::string_view text, Duration usual) {
  if (text.empty()) return usual;
  const auto parsed = parse_duration(text);
  if (!parsed || *parsed > kLongest) return std::nullopt;
  return *parsed;
}

}  // namespace

void Session::command_mute(std::string_view arguments) {
  const std::string_view name = take_word(arguments);
  const auto time = duration_of(take_word(arguments), kUsualMute);
  if (name.empty() || !time || !arguments.empty()) return tell("Write /mute NAME [TIME], as in 30s or 1h; 0 lifts it.");
  const auto person = victim(name);
  if (!person) return;
  const Duration until = service_.now() + *time;
  service_.state().mute(*person->room, person->id, until, service_.now());
  service_.state().post(service_.hub().worker(), person->worker,
                        {.kind = Post::Kind::mute, .room = person->room, .to = person->id, .until = until});
  const bool lifted = *time == Duration::zero();
  service_.announce(person->room,
                    lifted ? fmt::format("{} may speak again", person->name)
                           : fmt::format("{} is muted for {} by {}", person->name, format_duration(*time), name_));
}

void Session::command_ban(std::string_view arguments) {
  const std::string_view name = take_word(arguments);
  const auto time = duration_of(take_word(arguments), kUsualBan);
  if (name.empty() || !time || *time == Duration::zero() || !arguments.empty())
    return tell("Write /ban NAME [TIME], as in 30m or 1d.");
  if (!is_staff()) return tell("A ban is of an address, for every service: operators of all rooms may (/oper).");
  const auto person = victim(name);
  if (!person) return;
  struct Told final : Problems {
    std::string text;
    void add(std::string_view, std::string_view message) noexcept override { text = message; }
  } problem;
  const std::string reason = fmt::format("by {} in the chat, as {}", name_, person->name);
  if (!service_.context().ban(person->address, *time, reason, problem)) return tell("Not banned: {}.", problem.text);
  service_.count(kKicks);
  service_.announce(person->room,
                    fmt::format("{} was banned for {} by {}", person->name, format_duration(*time), name_));
}

void Session::command_quit(std::string_view) {
  tell("Goodbye.");
  end();
}

}  // namespace portolan::chat
