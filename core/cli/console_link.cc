#include "cli/console_link.h"

#include "cli/exit_code.h"

#include <fmt/format.h>
#include <poll.h>
#include <sys/socket.h>

#include <cerrno>
#include <charconv>
#include <chrono>
#include <utility>

namespace portolan {

namespace {

using Clock = std::chrono::steady_clock;

std::unexpected<CommandFailure> unlike_a_daemon(const std::string& path) {
  return std::unexpected(
      CommandFailure{kExitFailed, fmt::format("what listens at {} does not answer like a portolan daemon", path)});
}

}  // namespace

std::expected<std::unique_ptr<ConsoleLink>, CommandFailure> ConsoleLink::open(const std::string& socket_path,
                                                                              const std::string& wish) {
  auto socket = begin_asking(socket_path, "POST", "/console" + wish, kAskPatience);
  if (!socket) return std::unexpected(socket.error());
  std::unique_ptr<ConsoleLink> link(new ConsoleLink(socket_path, std::move(*socket)));
  if (auto begun = link->begin(); !begun) return std::unexpected(begun.error());
  return link;
}

// Up to the first event, or to the end of a refusal.
std::expected<void, CommandFailure> ConsoleLink::begin() {
  const Clock::time_point deadline = Clock::now() + std::chrono::duration_cast<Clock::duration>(kAskPatience);
  bool head_over = false;
  for (;;) {
    const auto left = std::chrono::ceil<std::chrono::milliseconds>(deadline - Clock::now()).count();
    pollfd entry{.fd = socket_.get(), .events = POLLIN, .revents = 0};
    if (left <= 0)
      return std::unexpected(CommandFailure{kExitFailed, fmt::format("the daemon at {} did not answer", path_)});
    if (::poll(&entry, 1, static_cast<int>(left)) <= 0) continue;
    const bool open = receive();
    if (!head_over) {
      const std::size_t end = input_.find("\r\n\r\n");
      if (open && end == std::string::npos) continue;
      const auto answer = parse_answer(input_, path_);
      if (!answer) return std::unexpected(answer.error());
      if (answer->status != 200) {
        if (open) continue;
        const auto refusal = read_answer(*answer, "POST /console");
        return refusal ? unlike_a_daemon(path_) : std::unexpected(refusal.error());
      }
      head_over = true;
      input_.erase(0, end + 4);
    }
    ConsoleMessage first;
    if (take(first)) {
      facts_ = Answer::parse(first.text, nullptr, false);
      if (first.kind != "session" || !facts_.is_object()) return unlike_a_daemon(path_);
      return {};
    }
    if (!open) return unlike_a_daemon(path_);
  }
}

bool ConsoleLink::receive() {
  for (;;) {
    char block[16 * 1024];
    const ssize_t count = ::recv(socket_.get(), block, sizeof block, 0);
    if (count > 0) {
      input_.append(block, static_cast<std::size_t>(count));
      continue;
    }
    if (count < 0 && errno == EINTR) continue;
    return count < 0 && errno == EAGAIN;
  }
}

bool ConsoleLink::take(ConsoleMessage& message) {
  const std::size_t line = input_.find('\n');
  if (line == std::string::npos) return false;
  const std::size_t space = input_.find(' ');
  std::size_t size = 0;
  if (space < line) std::from_chars(input_.data() + space + 1, input_.data() + line, size);
  // Its text is followed by a newline.
  if (input_.size() - line - 1 < size + 1) return false;
  message.kind = input_.substr(0, std::min(space, line));
  message.text = input_.substr(line + 1, size);
  input_.erase(0, line + size + 2);
  return true;
}

std::expected<Answer, CommandFailure> ConsoleLink::ask(std::string_view page, const std::string& query,
                                                       std::string_view body) const {
  DaemonTarget target;
  target.socket = path_;
  return portolan::ask(target, "POST",
                       fmt::format("/console/{}?session={}{}", page, answer::number(facts_, "session"), query),
                       kAskPatience, body);
}

}  // namespace portolan
