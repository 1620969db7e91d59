#include "script/read_request.h"

#include <algorithm>

namespace portolan {

ReadRequest::Answer ReadRequest::look(std::string_view data) noexcept {
  using State = Answer::State;
  switch (kind) {
    case Kind::some:
      if (data.empty()) return {};
      return {State::complete, data.substr(0, size), std::min(size, data.size())};
    case Kind::exactly:
      if (data.size() < size) return {};
      return {State::complete, data.substr(0, size), size};
    case Kind::line:
    case Kind::until: {
      const std::string_view end = kind == Kind::line ? std::string_view("\n") : std::string_view(delimiter);
      const std::size_t found = data.find(end, scanned);
      if (found == std::string_view::npos) {
        // An end may have begun already.
        scanned = data.size() >= end.size() ? data.size() - (end.size() - 1) : 0;
        return {data.size() >= size + end.size() + (kind == Kind::line ? 1 : 0) ? State::too_long : State::incomplete};
      }
      std::string_view value = data.substr(0, found);
      if (kind == Kind::line && value.ends_with('\r')) value.remove_suffix(1);
      if (value.size() > size) return {State::too_long};
      return {State::complete, value, found + end.size()};
    }
    case Kind::frame: {
      if (data.size() < header) return {};
      std::size_t length = 0;
      for (unsigned index = 0; index < header; ++index) {
        const unsigned at = little_endian ? header - 1 - index : index;
        length = length << 8U | static_cast<unsigned char>(data[at]);
      }
      if (length > size) return {State::too_long};
      if (data.size() - header < length) return {};
      return {State::complete, data.substr(header, length), header + length};
    }
  }
  return {};
}

}  // namespace portolan
