#include "base/net_error.h"

#include <cerrno>

namespace portolan {

NetError net_error_of(int error_number) noexcept {
  switch (error_number) {
    case 0: return NetError::none;
    case ECONNREFUSED: return NetError::refused;
    case ENETUNREACH:
    case EHOSTUNREACH:
    case ENETDOWN:
    case EHOSTDOWN:
    case EADDRNOTAVAIL:
    case EAFNOSUPPORT:  // no IPv6 here, say: the peer cannot be reached in this way
      return NetError::unreachable;
    case ETIMEDOUT: return NetError::timed_out;
    case ECONNRESET:
    case ECONNABORTED:
    case ENETRESET: return NetError::reset;
    case EPIPE:
    case ESHUTDOWN:
    case ENOTCONN: return NetError::closed;
    case EPROTO:
    case EBADMSG:
    case EMSGSIZE: return NetError::protocol;
    default: return NetError::system;
  }
}

std::string_view to_string(NetError error) noexcept {
  switch (error) {
    case NetError::none: return "none";
    case NetError::refused: return "refused";
    case NetError::unreachable: return "unreachable";
    case NetError::timed_out: return "timed_out";
    case NetError::reset: return "reset";
    case NetError::closed: return "closed";
    case NetError::name_not_found: return "name_not_found";
    case NetError::tls: return "tls";
    case NetError::protocol: return "protocol";
    case NetError::system: return "system";
  }
  return "unknown";
}

std::string_view to_sentence(NetError error) noexcept {
  switch (error) {
    case NetError::none: return "no error";
    case NetError::refused: return "connection refused";
    case NetError::unreachable: return "unreachable";
    case NetError::timed_out: return "timed out";
    case NetError::reset: return "connection reset";
    case NetError::closed: return "connection closed";
    case NetError::name_not_found: return "name not found";
    case NetError::tls: return "TLS failed";
    case NetError::protocol: return "protocol violated";
    case NetError::system: return "local failure";
  }
  return "unknown error";
}

std::string_view to_string(Refusal reason) noexcept {
  switch (reason) {
    case Refusal::max_sessions: return "max_sessions";
    case Refusal::max_sessions_per_client: return "max_sessions_per_client";
    case Refusal::accept_rate: return "accept_rate";
    case Refusal::message_rate: return "message_rate";
    case Refusal::byte_rate: return "byte_rate";
    case Refusal::first_message_timeout: return "first_message_timeout";
    case Refusal::idle_timeout: return "idle_timeout";
    case Refusal::message_too_long: return "message_too_long";
    case Refusal::bad_message: return "bad_message";
    case Refusal::hook: return "hook";
    case Refusal::tls: return "tls";
    case Refusal::output_limit: return "output_limit";
    case Refusal::descriptors: return "descriptors";
    case Refusal::draining: return "draining";
    case Refusal::banned: return "banned";
  }
  return "unknown";
}

std::string_view to_string(Transport transport) noexcept {
  switch (transport) {
    case Transport::tcp: return "tcp";
    case Transport::udp: return "udp";
    case Transport::tls: return "tls";
    case Transport::unix_stream: return "unix";
    case Transport::rudp: return "rudp";
  }
  return "unknown";
}

}  // namespace portolan
