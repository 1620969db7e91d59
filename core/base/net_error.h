// The words of the network taxonomy (service.h) and how errno maps to them. Pure functions.
#pragma once

#include "plugin/service.h"

#include <string_view>

namespace portolan {

NetError net_error_of(int error_number) noexcept;
std::string_view to_string(NetError error) noexcept;    // "timed_out": counters, JSON, the store
std::string_view to_sentence(NetError error) noexcept;  // "timed out": messages
std::string_view to_string(Refusal reason) noexcept;
std::string_view to_string(Transport transport) noexcept;  // tcp, udp, tls, unix

}  // namespace portolan
