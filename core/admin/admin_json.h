// The answers of the admin API as JSON: the structs of admin.h, field by field under their own names.
//
// Pure functions, any thread. Text that is not UTF-8 (a configuration may hold any bytes) gets U+FFFD in its place.
#pragma once

#include "admin/admin.h"

#include <string>
#include <vector>

namespace portolan {

std::string status_json(const DaemonStatus& status, const NotReady& not_ready);
std::string sessions_json(const std::vector<SessionStatus>& sessions, std::size_t limit);
std::string bans_json(const std::vector<Ban>& bans);
std::string readiness_json(const NotReady& not_ready);
// A plugin's answer as it is; empty when it is no JSON.
std::string answer_json(const std::string& answer);
std::string failure_json(const std::string& error);  // {"ok":false,"error":...}

}  // namespace portolan
