#include "load_idle.h"

#include <fmt/format.h>
#include <poll.h>
#include <sys/socket.h>

#include <array>
#include <cerrno>
#include <string_view>

namespace portolan::bench {
namespace {

constexpr std::string_view kQuestion = "One message of sixty-four bytes, echoed once, and then nothing.\n";
static_assert(kQuestion.size() == 64);

Result<void> expect_echo(int fd) {
  std::array<char, kQuestion.size() + 1> answer;
  std::size_t size = 0;
  while (size < kQuestion.size()) {
    pollfd readable{fd, POLLIN, 0};
    if (::poll(&readable, 1, kSilenceMs) == 0) return Failure(fmt::format("no answer for {} s", kSilenceMs / 1000));
    if (interrupted()) return Failure("interrupted");
    const ssize_t got = ::recv(fd, answer.data() + size, answer.size() - size, 0);
    if (got < 0 && errno == EAGAIN) continue;
    if (got <= 0) return Failure("closed a connection that was in use");
    size += static_cast<std::size_t>(got);
  }
  if (std::string_view(answer.data(), size) != kQuestion) return Failure("gave a wrong answer");
  return {};
}

}  // namespace

Result<void> IdleLoad::open_more(int connections) {
  constexpr std::size_t kAtOnce = 100;  // fewer than any listen queue holds
  std::size_t answered = connections_.size();
  for (int i = 0; i < connections; ++i) {
    auto fd = connect_tcp(address_);
    if (!fd) return Failure(fmt::format("{} at connection {}", fd.error(), i + 1));
    if (auto sent = send_all(fd->get(), kQuestion.data(), kQuestion.size()); !sent) return sent;
    connections_.push_back(std::move(*fd));
    if (connections_.size() - answered < kAtOnce && i + 1 < connections) continue;
    for (; answered < connections_.size(); ++answered) {
      if (auto echoed = expect_echo(connections_[answered].get()); !echoed) {
        return Failure(fmt::format("{} at connection {}", echoed.error(), answered + 1));
      }
    }
  }
  return {};
}

Result<Sample> sample_memory(Process& server, const sockaddr_in& address, int connections) {
  IdleLoad load(address);
  // The first connections pay for what is allocated once.
  if (auto opened = load.open_more(16); !opened) return Failure(std::move(opened).error());
  server.settle();
  const auto before = static_cast<double>(server.private_dirty_bytes());
  if (auto opened = load.open_more(connections); !opened) return Failure(std::move(opened).error());
  server.settle();
  const auto after = static_cast<double>(server.private_dirty_bytes());
  return Sample{.rate = after, .cost = (after - before) / connections};
}

Result<Descriptor> connect_and_ask(const sockaddr_in& address) {
  auto fd = connect_tcp(address);
  if (!fd) return fd;
  if (auto sent = send_all(fd->get(), kQuestion.data(), kQuestion.size()); !sent) {
    return Failure(std::move(sent).error());
  }
  if (auto echoed = expect_echo(fd->get()); !echoed) return Failure(std::move(echoed).error());
  return fd;
}

}  // namespace portolan::bench
