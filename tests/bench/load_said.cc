#include "load_said.h"

#include <fmt/format.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <cstring>

#include "load_chat.h"

namespace portolan::bench {
namespace {

constexpr int kEventsAtOnce = 16;
// To look costs a short read transaction, which the writer does not notice.
constexpr std::chrono::milliseconds kLookEvery(5);

std::string name_of(int number) { return fmt::format("m{}", number); }

}  // namespace

Result<void> SaidLoad::open(const sockaddr_in& address) {
  epoll_ = Descriptor{::epoll_create1(EPOLL_CLOEXEC)};
  buffer_.resize(256 * 1024);
  members_.resize(static_cast<std::size_t>(shape_.members));
  for (int number = 0; number < shape_.members; ++number) {
    Member& member = members_[static_cast<std::size_t>(number)];
    auto fd = connect_tcp(address);
    if (!fd) return Failure(std::move(fd).error());
    member.fd = std::move(*fd);
    if (auto entered = enter(member, number); !entered) return entered;
  }
  // The last one speaks. Whoever has heard him come has nothing left to hear but him.
  for (std::size_t number = 0; number + 1 < members_.size(); ++number) {
    Member& member = members_[number];
    const std::string came = fmt::format("* {} joined\n", name_of(shape_.members - 1));
    if (auto heard = read_until(member.fd.get(), member.kept, came); !heard) return heard;
    if (!watch(epoll_.get(), EPOLL_CTL_ADD, member.fd.get(), EPOLLIN, static_cast<std::uint32_t>(number)))
      return Failure(error_text("epoll"));
  }
  for (std::uint32_t line = 0; line < shape_.at_once; ++line) block_ += chat_line(0);
  expected_ = fmt::format("[{}] {}", name_of(shape_.members - 1), chat_line(0));
  if (shape_.file.empty()) return {};
  auto file = MessageFile::open(shape_.file);
  if (!file) return Failure(std::move(file).error());
  file_ = std::move(*file);
  return {};
}

Result<void> SaidLoad::enter(Member& member, int number) {
  const std::string name = name_of(number) + "\n";
  if (auto sent = send_all(member.fd.get(), name.data(), name.size()); !sent) return sent;
  return read_until(member.fd.get(), member.kept, "* You are in ");
}

Result<void> SaidLoad::say() {
  for (std::uint32_t line = 0; line < shape_.at_once; ++line) write_tag(block_.data() + line * kChatLineSize, said_++);
  return send_all(members_.back().fd.get(), block_.data(), block_.size());
}

Result<void> SaidLoad::receive(Member& member) {
  const ssize_t got = ::recv(member.fd.get(), buffer_.data(), buffer_.size(), 0);
  if (got < 0 && (errno == EAGAIN || errno == EINTR)) return {};
  if (got <= 0) return Failure("closed a connection that was in use");
  std::string_view data(buffer_.data(), static_cast<std::size_t>(got));
  if (!member.kept.empty()) data = member.kept.append(data);
  for (; data.size() >= expected_.size(); data.remove_prefix(expected_.size())) {
    write_tag(expected_.data() + expected_.size() - kChatLineSize, member.heard++);
    if (std::memcmp(data.data(), expected_.data(), expected_.size()) != 0) return Failure("delivered something else");
  }
  member.kept = std::string(data);
  return {};
}

std::uint32_t SaidLoad::heard_by_all() const {
  std::uint32_t heard = said_;
  for (std::size_t number = 0; number + 1 < members_.size(); ++number) heard = std::min(heard, members_[number].heard);
  return heard;
}

Result<Tally> SaidLoad::run(const Bounds& bounds) {
  const std::uint32_t before = said_;
  const double cpu_before = own_cpu_seconds();
  const auto begin = Clock::now();
  auto next_look = begin;
  auto progress = begin;
  std::array<epoll_event, kEventsAtOnce> events;
  for (;;) {
    const auto now = Clock::now();
    if (file_ && now >= next_look) {
      const auto written = file_->written();
      if (!written) return Failure(written.error());
      if (*written > said_) return Failure("kept more than was said");
      if (*written > written_) progress = now;
      written_ = static_cast<std::uint32_t>(*written);
      next_look = now + kLookEvery;
    }
    const bool more = said_ - before < bounds.requests && seconds_since(begin) < bounds.seconds;
    const std::uint32_t heard = heard_by_all();
    while (more && said_ + shape_.at_once - heard <= shape_.under_way &&
           (!file_ || said_ + shape_.at_once - written_ <= shape_.ahead_of_file)) {
      if (auto sent = say(); !sent) return Failure(std::move(sent).error());
    }
    if (heard == said_ && (!file_ || written_ == said_)) break;
    if (now - progress > std::chrono::milliseconds(kSilenceMs)) {
      return Failure(heard != said_ ? fmt::format("no delivery for {} s", kSilenceMs / 1000)
                                    : fmt::format("{} messages did not reach the file", said_ - written_));
    }
    const int wait_ms = file_ ? static_cast<int>(kLookEvery.count()) : kSilenceMs;
    const int count = ::epoll_wait(epoll_.get(), events.data(), kEventsAtOnce, wait_ms);
    if (interrupted()) return Failure("interrupted");
    for (int i = 0; i < count; ++i) {
      auto received = receive(members_[events[static_cast<std::size_t>(i)].data.u32]);
      if (!received) return Failure(std::move(received).error());
    }
    if (count > 0) progress = now;
  }
  Tally tally;
  tally.requests = said_ - before;
  tally.seconds = seconds_since(begin);
  tally.generator_cpu_seconds = own_cpu_seconds() - cpu_before;
  return tally;
}

}  // namespace portolan::bench
