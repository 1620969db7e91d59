#include "support/dns_server.h"

#include <algorithm>
#include <cctype>
#include <cerrno>
#include <cstring>
#include <stdexcept>

#include <arpa/inet.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

namespace portolan::testing {

namespace {

constexpr std::size_t kHeader = 12;
constexpr int kServerFailure = 2, kNameError = 3, kRefused = 5;

std::string number16(unsigned value) { return {static_cast<char>(value >> 8), static_cast<char>(value & 0xff)}; }
std::string number32(std::uint32_t value) { return number16(value >> 16) + number16(value & 0xffff); }

// "nas.lan" as labels, each after its length.
std::string wire_name(const std::string& name) {
  std::string wire;
  for (std::size_t from = 0; from < name.size();) {
    const std::size_t dot = std::min(name.find('.', from), name.size());
    wire += static_cast<char>(dot - from);
    wire += name.substr(from, dot - from);
    from = dot + 1;
  }
  return wire + '\0';
}

std::string lower_case(std::string text) {
  std::ranges::transform(text, text.begin(), [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  return text;
}

int bound_socket(int type, const std::string& address, std::uint16_t port) {
  sockaddr_in where{};
  where.sin_family = AF_INET;
  where.sin_port = htons(port);
  if (::inet_pton(AF_INET, address.c_str(), &where.sin_addr) != 1) return -1;
  const int descriptor = ::socket(AF_INET, type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  const int on = 1;
  if (type == SOCK_STREAM) ::setsockopt(descriptor, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  if (::bind(descriptor, reinterpret_cast<const sockaddr*>(&where), sizeof where) == 0) return descriptor;
  ::close(descriptor);
  return -1;
}

std::uint16_t port_of(int descriptor) {
  sockaddr_in where{};
  socklen_t size = sizeof where;
  ::getsockname(descriptor, reinterpret_cast<sockaddr*>(&where), &size);
  return ntohs(where.sin_port);
}

}  // namespace

DnsServer::DnsServer(const std::string& address, std::uint16_t port) : address_(address) {
  // A port that is free for UDP may be taken for TCP: then another.
  for (int attempt = 0; attempt < 100 && listening_ < 0; ++attempt) {
    if (udp_ >= 0) ::close(udp_);
    udp_ = bound_socket(SOCK_DGRAM, address, port);
    if (udp_ < 0) break;
    port_ = port_of(udp_);
    listening_ = bound_socket(SOCK_STREAM, address, port_);
    if (port != 0) break;
  }
  if (udp_ < 0 || listening_ < 0 || ::listen(listening_, 16) != 0) {
    throw std::runtime_error("DnsServer: cannot serve " + address + ":" + std::to_string(port) + ": " +
                             std::strerror(errno));
  }
  stop_ = ::eventfd(0, EFD_CLOEXEC);
  thread_ = std::thread([this] { serve(); });
}

DnsServer::~DnsServer() {
  const std::uint64_t one = 1;
  [[maybe_unused]] const auto written = ::write(stop_, &one, sizeof one);
  thread_.join();
  for (const auto& [connection, data] : connections_) ::close(connection);
  for (const int descriptor : {udp_, listening_, stop_}) ::close(descriptor);
}

void DnsServer::add(const std::string& name, const std::string& address, std::uint32_t ttl) {
  char bytes[16];
  const bool v4 = ::inet_pton(AF_INET, address.c_str(), bytes) == 1;
  if (!v4 && ::inet_pton(AF_INET6, address.c_str(), bytes) != 1) {
    throw std::runtime_error("DnsServer: not an address: " + address);
  }
  const std::lock_guard lock(mutex_);
  records_.emplace(lower_case(name), Record{v4 ? DnsType::a : DnsType::aaaa, std::string(bytes, v4 ? 4 : 16), ttl});
}

void DnsServer::add_alias(const std::string& name, const std::string& target, std::uint32_t ttl) {
  const std::lock_guard lock(mutex_);
  records_.emplace(lower_case(name), Record{DnsType::cname, lower_case(target), ttl});
}

void DnsServer::remove(const std::string& name) {
  const std::lock_guard lock(mutex_);
  records_.erase(lower_case(name));
}

void DnsServer::behave(const std::string& name, DnsType type, DnsBehaviour behaviour) {
  const std::lock_guard lock(mutex_);
  behaviours_[{lower_case(name), type}] = behaviour;
}

void DnsServer::delay(const std::string& name, Milliseconds time) {
  const std::lock_guard lock(mutex_);
  delays_[lower_case(name)] = time;
}

std::string DnsServer::where() const { return address_ + ":" + std::to_string(port_); }

std::vector<std::string> DnsServer::questions() const {
  const std::lock_guard lock(mutex_);
  return questions_;
}

// ---- The thread ----------------------------------------------------------------------------------------------

void DnsServer::serve() {
  for (;;) {
    const int wait = send_what_is_due();
    std::vector<pollfd> waiting{{stop_, POLLIN, 0}, {udp_, POLLIN, 0}, {listening_, POLLIN, 0}};
    for (const auto& [connection, data] : connections_) waiting.push_back({connection, POLLIN, 0});
    if (::poll(waiting.data(), waiting.size(), wait) < 0 && errno != EINTR) return;
    if (waiting[0].revents) return;
    if (waiting[1].revents) receive_datagram();
    for (std::size_t i = 3; i < waiting.size(); ++i) {
      const int connection = waiting[i].fd;
      if (!waiting[i].revents || receive_from(connection)) continue;
      std::erase_if(replies_, [&](const Reply& reply) { return reply.connection == connection; });
      connections_.erase(connection);
      ::close(connection);
    }
    if (waiting[2].revents) {
      const int connection = ::accept4(listening_, nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK);
      if (connection >= 0) connections_[connection];
    }
  }
}

void DnsServer::receive_datagram() {
  char buffer[2048];
  sockaddr_in from{};
  socklen_t size = sizeof from;
  const ssize_t got = ::recvfrom(udp_, buffer, sizeof buffer, 0, reinterpret_cast<sockaddr*>(&from), &size);
  if (got <= 0) return;
  take({buffer, static_cast<std::size_t>(got)}, false, -1, from);
}

bool DnsServer::receive_from(int connection) {
  char buffer[2048];
  const ssize_t got = ::recv(connection, buffer, sizeof buffer, 0);
  if (got <= 0) return got < 0 && errno == EAGAIN;
  std::string& data = connections_[connection];
  data.append(buffer, static_cast<std::size_t>(got));
  while (data.size() >= 2) {
    const std::size_t size = static_cast<unsigned char>(data[0]) * 256U + static_cast<unsigned char>(data[1]);
    if (data.size() < 2 + size) break;
    take(std::string_view(data).substr(2, size), true, connection, {});
    data.erase(0, 2 + size);
  }
  return true;
}

void DnsServer::take(std::string_view message, bool over_tcp, int connection, const sockaddr_in& peer) {
  Milliseconds after{0};
  std::string answer = answer_to(message, over_tcp, after);
  if (answer.empty()) return;
  if (over_tcp) answer.insert(0, number16(static_cast<unsigned>(answer.size())));
  replies_.push_back({Clock::now() + after, std::move(answer), connection, peer});
}

int DnsServer::send_what_is_due() {
  int wait = -1;
  std::erase_if(replies_, [&](const Reply& reply) {
    const auto left = std::chrono::ceil<Milliseconds>(reply.due - Clock::now()).count();
    if (left > 0) {
      wait = wait < 0 ? static_cast<int>(left) : std::min(wait, static_cast<int>(left));
      return false;
    }
    if (reply.connection >= 0) {
      ::send(reply.connection, reply.message.data(), reply.message.size(), MSG_NOSIGNAL);
    } else {
      ::sendto(udp_, reply.message.data(), reply.message.size(), 0, reinterpret_cast<const sockaddr*>(&reply.peer),
               sizeof reply.peer);
    }
    return true;
  });
  return wait;
}

// ---- Messages (RFC 1035 section 4) ---------------------------------------------------------------------------

std::string DnsServer::answer_to(std::string_view message, bool over_tcp, Milliseconds& after) {
  if (message.size() < kHeader + 5) return {};
  std::string name;
  std::size_t at = kHeader;
  while (at < message.size() && message[at] != 0) {
    const auto length = static_cast<unsigned char>(message[at]);
    if (length > 63 || at + 1 + length > message.size()) return {};
    if (!name.empty()) name += '.';
    name += message.substr(at + 1, length);
    at += 1 + length;
  }
  if (at + 5 > message.size()) return {};
  const std::string_view question = message.substr(kHeader, at + 5 - kHeader);
  const auto type = static_cast<DnsType>(static_cast<unsigned char>(message[at + 1]) * 256 +
                                         static_cast<unsigned char>(message[at + 2]));
  name = lower_case(name);

  const std::lock_guard lock(mutex_);
  const char* shown = type == DnsType::a ? "A" : type == DnsType::aaaa ? "AAAA" : "other";
  questions_.push_back(std::string(over_tcp ? "tcp " : "udp ") + shown + " " + name);
  auto behaviour = DnsBehaviour::answer;
  for (const DnsType key : {DnsType::any, type}) {
    if (const auto found = behaviours_.find({name, key}); found != behaviours_.end()) behaviour = found->second;
  }
  if (const auto found = delays_.find(name); found != delays_.end()) after = found->second;

  std::string id(message.substr(0, 2));
  if (behaviour == DnsBehaviour::silence) return {};
  if (behaviour == DnsBehaviour::garbage) return id + "\x81\x80 no such thing as an answer";
  if (behaviour == DnsBehaviour::wrong_id) id[0] = static_cast<char>(id[0] ^ 0x55);
  const bool truncated = behaviour == DnsBehaviour::truncate && !over_tcp;
  int count = 0;
  std::string records;
  int code = 0;
  if (behaviour == DnsBehaviour::server_failure) {
    code = kServerFailure;
  } else if (behaviour == DnsBehaviour::refuse) {
    code = kRefused;
  } else if (!records_.contains(name)) {
    code = kNameError;
  } else if (!truncated) {
    records = records_of(name, type, count);
  }
  const unsigned flags = 0x8180U | (truncated ? 0x0200U : 0U) | static_cast<unsigned>(code);  // QR, RD, RA
  return id + number16(flags) + number16(1) + number16(static_cast<unsigned>(count)) + number16(0) + number16(0) +
         std::string(question) + records;
}

std::string DnsServer::records_of(const std::string& name, DnsType type, int& count) const {
  std::string out;
  const auto [first, last] = records_.equal_range(name);
  for (auto record = first; record != last; ++record) {
    const auto& [record_type, data, ttl] = record->second;
    if (record_type != type && record_type != DnsType::cname) continue;
    const std::string content = record_type == DnsType::cname ? wire_name(data) : data;
    out += wire_name(name) + number16(static_cast<unsigned>(record_type)) + number16(1) + number32(ttl) +
           number16(static_cast<unsigned>(content.size())) + content;
    ++count;
    if (record_type == DnsType::cname && count < 8) out += records_of(data, type, count);
  }
  return out;
}

}  // namespace portolan::testing
