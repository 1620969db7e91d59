#include "load_chat.h"

#include <fmt/format.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#include <array>
#include <cerrno>
#include <charconv>
#include <cstring>

namespace portolan::bench {
namespace {

constexpr int kEventsAtOnce = 256;
constexpr std::string_view kTopic = "room";

std::string name_of(int number) { return fmt::format("m{:03}", number); }

// A packet of MQTT whose rest is shorter than 128 bytes.
std::string packet(char type, const std::string& rest) {
  return type + std::string(1, static_cast<char>(rest.size())) + rest;
}
std::string field(std::string_view text) { return std::string{'\0', static_cast<char>(text.size())}.append(text); }

}  // namespace

std::string chat_line(std::uint32_t tag) {
  std::string text;
  while (text.size() + 1 < kChatLineSize) text += static_cast<char>('a' + text.size() % 26);
  text += '\n';
  write_tag(text.data(), tag);
  return text;
}

Result<void> ChatLoad::open(const sockaddr_in& address) {
  epoll_ = Descriptor{::epoll_create1(EPOLL_CLOEXEC)};
  buffer_.resize(256 * 1024);
  members_.resize(static_cast<std::size_t>(shape_.members));
  for (int number = 0; number < shape_.members; ++number) {
    Member& member = members_[static_cast<std::size_t>(number)];
    auto fd = connect_tcp(address);
    if (!fd) return Failure(std::move(fd).error());
    member.fd = std::move(*fd);
    if (auto entered = enter(member, number); !entered) return entered;
    if (!watch(epoll_.get(), EPOLL_CTL_ADD, member.fd.get(), EPOLLIN, static_cast<std::uint32_t>(number)))
      return Failure(error_text("epoll"));
  }
  // Whoever has heard the last one come has nothing left to hear.
  for (int number = 0; number + 1 < shape_.members && !shape_.mqtt; ++number) {
    Member& member = members_[static_cast<std::size_t>(number)];
    const auto heard =
        read_until(member.fd.get(), member.kept, fmt::format("* {} joined\n", name_of(shape_.members - 1)));
    if (!heard) return heard;
  }
  for (int number = 0; number < shape_.senders; ++number) {
    const std::string text = chat_line(0);
    const std::string said = fmt::format("[{}] {}", name_of(number), text);
    Sender sender;
    sender.request = shape_.mqtt ? packet('\x30', field(kTopic) + said) : text;
    sender.expected = shape_.mqtt ? sender.request : said;
    senders_.push_back(std::move(sender));
  }
  sender_at_ = senders_.front().expected.find("[m") + 2;
  return {};
}

Result<void> ChatLoad::enter(Member& member, int number) {
  if (!shape_.mqtt) {
    const std::string name = name_of(number) + "\n";
    if (auto sent = send_all(member.fd.get(), name.data(), name.size()); !sent) return sent;
    if (auto welcome = read_until(member.fd.get(), member.kept, "* You are in "); !welcome) return welcome;
    return read_until(member.fd.get(), member.kept, "\n");
  }
  // Version 4, a clean session, no keep-alive; then a subscription with QoS 0.
  const std::string connect = packet('\x10', field("MQTT") + std::string("\x04\x02\0\0", 4) + field(name_of(number)));
  if (auto sent = send_all(member.fd.get(), connect.data(), connect.size()); !sent) return sent;
  if (auto accepted = read_until(member.fd.get(), member.kept, std::string_view("\x20\x02\0\0", 4)); !accepted)
    return accepted;
  const std::string subscribe = packet('\x82', std::string("\0\1", 2) + field(kTopic) + std::string(1, '\0'));
  if (auto sent = send_all(member.fd.get(), subscribe.data(), subscribe.size()); !sent) return sent;
  return read_until(member.fd.get(), member.kept, std::string_view("\x90\x03\0\1\0", 5));
}

Result<void> ChatLoad::say(int number) {
  Sender& sender = senders_[static_cast<std::size_t>(number)];
  const std::size_t in_request = sender.request.size() - kChatLineSize;
  write_tag(sender.request.data() + in_request, next_tag_);
  write_tag(sender.expected.data() + sender.expected.size() - kChatLineSize, next_tag_++);
  sender.missing = shape_.mqtt ? shape_.members : shape_.members - 1;
  sender.asked = Clock::now();
  return send_all(members_[static_cast<std::size_t>(number)].fd.get(), sender.request.data(), sender.request.size());
}

// How many messages have come; whose are complete with it.
Result<std::uint64_t> ChatLoad::receive(Member& member, std::vector<int>& complete) {
  const ssize_t got = ::recv(member.fd.get(), buffer_.data(), buffer_.size(), 0);
  if (got < 0 && errno == EAGAIN) return 0;
  if (got <= 0) return Failure("closed a connection that was in use");
  std::string_view data(buffer_.data(), static_cast<std::size_t>(got));
  if (!member.kept.empty()) data = member.kept.append(data);
  const std::size_t size = senders_.front().expected.size();
  std::uint64_t count = 0;
  for (; data.size() >= size; data.remove_prefix(size), ++count) {
    int number = -1;
    std::from_chars(data.data() + sender_at_, data.data() + sender_at_ + 3, number);
    if (number < 0 || number >= shape_.senders) return Failure("delivered what nobody said");
    Sender& sender = senders_[static_cast<std::size_t>(number)];
    if (std::memcmp(data.data(), sender.expected.data(), size) != 0) return Failure("delivered something else");
    if (sender.missing == 0) return Failure("delivered a message twice");
    if (--sender.missing == 0) complete.push_back(number);
  }
  member.kept = std::string(data);
  return count;
}

Result<Tally> ChatLoad::run(const Bounds& bounds) {
  Tally tally;
  const double cpu_before = own_cpu_seconds();
  const auto begin = Clock::now();
  for (int number = 0; number < shape_.senders; ++number)
    if (auto sent = say(number); !sent) return Failure(std::move(sent).error());
  int under_way = shape_.senders;
  std::array<epoll_event, kEventsAtOnce> events;
  std::vector<int> complete;
  while (under_way > 0) {
    const int count = ::epoll_wait(epoll_.get(), events.data(), kEventsAtOnce, kSilenceMs);
    if (interrupted()) return Failure("interrupted");
    if (count == 0) return Failure(fmt::format("no delivery for {} s", kSilenceMs / 1000));
    complete.clear();
    for (int i = 0; i < count; ++i) {
      const auto received = receive(members_[events[static_cast<std::size_t>(i)].data.u32], complete);
      if (!received) return Failure(received.error());
      tally.requests += *received;
    }
    const bool more = tally.requests < bounds.requests && seconds_since(begin) < bounds.seconds;
    for (const int number : complete) {
      tally.latency_us.push_back(us_since(senders_[static_cast<std::size_t>(number)].asked));
      if (!more) {
        --under_way;
      } else if (auto sent = say(number); !sent) {
        return Failure(std::move(sent).error());
      }
    }
  }
  tally.seconds = seconds_since(begin);
  tally.generator_cpu_seconds = own_cpu_seconds() - cpu_before;
  return tally;
}

}  // namespace portolan::bench
