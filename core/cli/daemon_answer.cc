#include "cli/daemon_answer.h"

#include "base/units.h"
#include "cli/exit_code.h"
#include "cli/terminal.h"

#include <fmt/format.h>

#include <cstdio>

namespace portolan {

std::expected<Answer, CommandFailure> ask(const DaemonTarget& target, std::string_view method, const std::string& path,
                                          Duration patience, std::string_view request_body) {
  const auto socket = find_admin_socket(target);
  if (!socket) return std::unexpected(socket.error());
  const auto answer = ask_daemon(*socket, method, path, patience, request_body);
  if (!answer) return std::unexpected(answer.error());
  return read_answer(*answer, fmt::format("{} {}", method, path));
}

std::expected<Answer, CommandFailure> read_answer(const AdminAnswer& answer, std::string_view asked) {
  Answer body = Answer::parse(answer.body, nullptr, false);
  if (answer.status == 200 && !body.is_discarded()) return body;
  const int code = answer.status == 404 ? kExitNotFound : kExitFailed;
  if (body.is_object() && body.contains("error") && body["error"].is_string()) {
    return std::unexpected(CommandFailure{code, body["error"].get<std::string>()});
  }
  return std::unexpected(
      CommandFailure{kExitFailed, fmt::format("the daemon answered {} with status {}", asked, answer.status)});
}

int complain(std::string_view command, const CommandFailure& failure) {
  fmt::print(stderr, "portolan {}: {}\n", command, failure.message);
  return failure.exit_code;
}

namespace answer {

std::string text(const Answer& object, const char* key) {
  const auto found = object.find(key);
  return found != object.end() && found->is_string() ? printable(found->get<std::string>()) : "";
}

std::int64_t number(const Answer& object, const char* key) {
  const auto found = object.find(key);
  return found != object.end() && found->is_number() ? found->get<std::int64_t>() : 0;
}

std::string count(const Answer& object, const char* key) {
  return format_count(static_cast<std::uint64_t>(number(object, key)));
}

bool flag(const Answer& object, const char* key) {
  const auto found = object.find(key);
  return found != object.end() && found->is_boolean() && found->get<bool>();
}

const Answer& list(const Answer& object, const char* key) {
  static const Answer nothing = Answer::array();
  const auto found = object.find(key);
  return found != object.end() && found->is_array() ? *found : nothing;
}

}  // namespace answer

void print_json(const Answer& value) {
  fmt::print("{}\n", value.dump(2, ' ', false, Answer::error_handler_t::replace));
}

}  // namespace portolan
