// A session as it is shown to people: a plain value, made on its worker and handed to the admin API.
#pragma once

#include "plugin/service.h"

#include <cstdint>
#include <string>

namespace portolan {

struct SessionStatus {
  std::uint64_t id = 0;
  std::string service;
  std::string peer;
  Transport transport = Transport::tcp;
  std::int64_t started_ms = 0;
  std::int64_t idle_ms = 0;
  std::uint64_t bytes_in = 0;
  std::uint64_t bytes_out = 0;
  std::uint64_t messages = 0;
  std::uint64_t unsent = 0;
};

}  // namespace portolan
