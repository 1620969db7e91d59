// What a daemon answered, as JSON, and how commands read it: fields that an older or newer daemon may not have are shown as
// nothing, not as a crash. For commands only.
#pragma once

#include "cli/admin_client.h"

#include <nlohmann/json.hpp>

#include <cstdint>
#include <expected>
#include <string>
#include <string_view>

namespace portolan {

using Answer = nlohmann::ordered_json;  // in the order in which the daemon wrote it

inline constexpr Duration kAskPatience = std::chrono::seconds(10);

// What was answered; a refusal of the daemon's becomes a failure with its words.
std::expected<Answer, CommandFailure> ask(const DaemonTarget& target, std::string_view method, const std::string& path,
                                          Duration patience = kAskPatience, std::string_view body = {});
// The same of what has been answered already.
std::expected<Answer, CommandFailure> read_answer(const AdminAnswer& answer, std::string_view asked);
// Prints "portolan COMMAND: what went wrong", and answers the exit code.
int complain(std::string_view command, const CommandFailure& failure);

namespace answer {

std::string text(const Answer& object, const char* key);  // printable
std::int64_t number(const Answer& object, const char* key);
std::string count(const Answer& object, const char* key);
bool flag(const Answer& object, const char* key);
const Answer& list(const Answer& object, const char* key);

}  // namespace answer

void print_json(const Answer& value);

}  // namespace portolan
