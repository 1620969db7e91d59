#include "load_paced.h"

#include <fmt/format.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <cmath>
#include <cstring>
#include <ctime>
#include <utility>

#include "load_chat.h"

namespace portolan::bench {
namespace {

constexpr int kEventsAtOnce = 256;
// Joining at the same time: more announcements of them come to a member in one piece.
constexpr int kJoinAtOnce = 250;
constexpr std::size_t kNobody = SIZE_MAX;

std::string name_of(int number) { return fmt::format("m{:04}", number); }
std::string heard_line(int sender, std::string_view line) { return fmt::format("[{}] {}", name_of(sender), line); }
const std::size_t kHeardSize = heard_line(0, chat_line(0)).size();
const std::size_t kTagAt = heard_line(0, "").size();

}  // namespace

PacedLoad::~PacedLoad() {
  // Thousands of ports in TIME_WAIT would be the next round's trouble.
  for (Member& member : members_)
    if (member.fd) close_by_reset(member.fd);
}

Result<void> PacedLoad::open(const sockaddr_in& address) {
  epoll_ = Descriptor{::epoll_create1(EPOLL_CLOEXEC)};
  buffer_.resize(256 * 1024);
  members_.reserve(static_cast<std::size_t>(shape_.members));
  while (static_cast<int>(members_.size()) < shape_.members) {
    const std::size_t first = members_.size();
    const int end = std::min(shape_.members, static_cast<int>(first) + kJoinAtOnce);
    for (int number = static_cast<int>(first); number < end; ++number)
      if (auto entered = enter(address, number); !entered) return entered;
    if (auto in = read_until("* You are in ", first, kNobody); !in) return in;
  }
  // What has been told to the room reaches each member in its order: behind these two words nothing is under way.
  for (const int number : {0, 1}) {
    if (auto sent = say(number, "All are here.\n"); !sent) return sent;
    const auto heard = read_until(heard_line(number, "All are here.\n"), 0, static_cast<std::size_t>(number));
    if (!heard) return heard;
  }
  return {};
}

Result<void> PacedLoad::enter(const sockaddr_in& address, int number) {
  Member& member = members_.emplace_back();
  auto fd = connect_tcp(address);
  if (!fd) return Failure(fmt::format("{} at member {}", fd.error(), number + 1));
  member.fd = std::move(*fd);
  // Edges, because a level is looked at again after every turn: with thousands of members that is most of a turn.
  if (!watch(epoll_.get(), EPOLL_CTL_ADD, member.fd.get(), EPOLLIN | EPOLLET, static_cast<std::uint32_t>(number)))
    return Failure(error_text("epoll"));
  return say(number, name_of(number) + "\n");
}

Result<void> PacedLoad::say(int number, std::string_view line) {
  return send_all(members_[static_cast<std::size_t>(number)].fd.get(), line.data(), line.size());
}

// All that is there, behind what was kept: a read that does not fill the buffer has emptied the socket.
Result<std::string_view> PacedLoad::read(Member& member) {
  const ssize_t got = ::recv(member.fd.get(), buffer_.data(), buffer_.size(), 0);
  if (got < 0 && (errno == EAGAIN || errno == EINTR)) return std::string_view(member.kept);
  if (got <= 0) return Failure("closed a connection that was in use");
  if (static_cast<std::size_t>(got) == buffer_.size()) return Failure("sent more at once than ever was said");
  const std::string_view data(buffer_.data(), static_cast<std::size_t>(got));
  return member.kept.empty() ? data : std::string_view(member.kept.append(data));
}

// Whatever comes for anybody, until all from `first` on but one have got `text`; forgets all up to its end.
Result<void> PacedLoad::read_until(std::string_view text, std::size_t first, std::size_t but) {
  std::size_t missing = 0;
  for (std::size_t i = first; i < members_.size(); ++i) missing += (members_[i].waits = i != but) ? 1 : 0;
  std::array<epoll_event, kEventsAtOnce> events;
  while (missing > 0) {
    const int count = ::epoll_wait(epoll_.get(), events.data(), kEventsAtOnce, kSilenceMs);
    if (interrupted()) return Failure("interrupted");
    if (count == 0) return Failure(fmt::format("does not let members in: {} of {} wait", missing, members_.size()));
    for (int i = 0; i < count; ++i) {
      Member& member = members_[events[static_cast<std::size_t>(i)].data.u32];
      const auto data = read(member);
      if (!data) return Failure(data.error());
      if (!member.waits) {
        member.kept.clear();
      } else if (const std::size_t at = data->find(text); at != std::string_view::npos) {
        member.kept = std::string(data->substr(at + text.size()));
        member.waits = false;
        --missing;
      } else {
        member.kept = std::string(data->substr(data->size() - std::min(data->size(), text.size() - 1)));
      }
    }
  }
  return {};
}

Result<void> PacedLoad::say_next(Tally& tally) {
  const int sender = std::exchange(next_sender_, (next_sender_ + 1) % shape_.members);
  const Clock::time_point due =
      said_.empty() ? Clock::now() : said_.back().due + std::chrono::nanoseconds(std::nano::den / shape_.per_second);
  const std::string line = chat_line(first_tag_ + static_cast<std::uint32_t>(said_.size()));
  said_.push_back({heard_line(sender, line), due});
  tally.late_us = std::max(tally.late_us, static_cast<double>(us_since(due)));
  return say(sender, line);
}

Result<void> PacedLoad::receive(Member& member, Tally& tally) {
  const auto read_now = read(member);
  if (!read_now) return Failure(read_now.error());
  const Clock::time_point now = Clock::now();
  std::string_view data = *read_now;
  for (; data.size() >= kHeardSize; data.remove_prefix(kHeardSize)) {
    const std::uint32_t number = read_tag(data.data() + kTagAt) - first_tag_;
    if (number >= said_.size()) return Failure("delivered what nobody said");
    const Said& said = said_[number];
    if (std::memcmp(data.data(), said.expected.data(), kHeardSize) != 0) return Failure("delivered something else");
    if (member.heard[number]) return Failure("delivered a message twice");
    member.heard[number] = true;
    tally.latency_us.push_back(std::chrono::duration<float, std::micro>(now - said.due).count());
    ++tally.requests;
  }
  if (!data.empty() || !member.kept.empty()) member.kept = std::string(data);
  return {};
}

Result<Tally> PacedLoad::run(const Bounds& bounds) {
  const auto messages = static_cast<std::size_t>(std::max(1.0, std::round(bounds.seconds * shape_.per_second)));
  const std::uint64_t deliveries = messages * static_cast<std::uint64_t>(shape_.members - 1);
  first_tag_ += static_cast<std::uint32_t>(said_.size());
  said_.clear();
  for (Member& member : members_) member.heard.assign(messages, false);
  Tally tally;
  tally.latency_us.reserve(deliveries);
  const std::chrono::nanoseconds interval(std::nano::den / shape_.per_second);
  const std::chrono::milliseconds silence(kSilenceMs);
  const double cpu_before = own_cpu_seconds();
  const auto begin = Clock::now();
  auto heard = begin;  // or said
  std::array<epoll_event, kEventsAtOnce> events;
  while (tally.requests < deliveries) {
    const auto now = Clock::now();
    if (said_.size() < messages && (said_.empty() || now >= said_.back().due + interval)) {
      if (auto sent = say_next(tally); !sent) return Failure(std::move(sent).error());
      heard = now;
      continue;
    }
    if (now - heard > silence) return Failure(fmt::format("no delivery for {} s", kSilenceMs / 1000));
    const auto wait = said_.size() < messages ? said_.back().due + interval - now : silence;
    const auto wait_ns = std::chrono::nanoseconds(wait).count();
    const timespec timeout{wait_ns / std::nano::den, wait_ns % std::nano::den};
    const int count = ::epoll_pwait2(epoll_.get(), events.data(), kEventsAtOnce, &timeout, nullptr);
    if (interrupted()) return Failure("interrupted");
    for (int i = 0; i < count; ++i) {
      auto received = receive(members_[events[static_cast<std::size_t>(i)].data.u32], tally);
      if (!received) return Failure(std::move(received).error());
    }
    if (count > 0) heard = now;
  }
  tally.seconds = seconds_since(begin);
  tally.generator_cpu_seconds = own_cpu_seconds() - cpu_before;
  return tally;
}

}  // namespace portolan::bench
