#include "link_emulator.h"

#include <fmt/format.h>
#include <poll.h>
#include <sched.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <csignal>
#include <utility>

#include "link_namespace.h"

namespace portolan::bench {
namespace {

using std::chrono::duration;

// A sleep this close to a deadline would overshoot it.
constexpr LinkTime kSpin = std::chrono::microseconds(30);
constexpr LinkTime kLongestSleep = std::chrono::milliseconds(20);
constexpr LinkTime kListenPatience = std::chrono::seconds(10);
constexpr int kPacketsAtOnce = 32;
constexpr int kPriority = 10;
constexpr std::size_t kLargestPacket = 65'536 + NetworkNamespace::kHeaderBytes;

// The children inherit none of it.
void ask_for_priority() {
  sched_param parameters{};
  parameters.sched_priority = kPriority;
  ::sched_setscheduler(0, SCHED_FIFO | SCHED_RESET_ON_FORK, &parameters);
  ::prctl(PR_SET_TIMERSLACK, 1);
}

// The signals that end a run, readable instead of delivered; and as they were when it goes.
class Signals {
 public:
  Signals() {
    sigset_t watched;
    sigemptyset(&watched);
    for (const int signal : {SIGINT, SIGTERM, SIGHUP, SIGCHLD}) sigaddset(&watched, signal);
    ::sigprocmask(SIG_BLOCK, &watched, &before_);
    file_ = Descriptor(::signalfd(-1, &watched, SFD_NONBLOCK | SFD_CLOEXEC));
  }
  Signals(const Signals&) = delete;
  Signals& operator=(const Signals&) = delete;
  ~Signals() { ::sigprocmask(SIG_SETMASK, &before_, nullptr); }

  int descriptor() const { return file_.get(); }
  // True for one that asks for the end.
  bool read_all() const {
    bool asked = false;
    for (signalfd_siginfo what{}; ::read(file_.get(), &what, sizeof what) == sizeof what;) {
      asked = asked || what.ssi_signo != SIGCHLD;
    }
    return asked;
  }

 private:
  sigset_t before_{};
  Descriptor file_;
};

class Emulator {
 public:
  explicit Emulator(const LinkSetup& setup)
      : setup_(setup),
        ways_{Way{setup.there, setup.seed * 2}, Way{setup.back, setup.seed * 2 + 1}},
        buffer_(kLargestPacket) {}

  Result<LinkReport> run();

 private:
  struct Way {
    Way(const LinkShape& shape, std::uint64_t seed) : model(shape, seed) {}

    LinkDirection model;
    Descriptor source;
    LinkTime receive_time{};
  };

  Result<void> start();
  Result<void> wait_for_listeners();
  void take_in(Way& way);
  void hand_over(Way& way, const Descriptor& target);
  void wait(LinkTime now);
  void watch_sides(LinkTime now);
  LinkTime now() const { return Clock::now() - begin_; }
  LinkReport report() const;

  const LinkSetup& setup_;
  Signals signals_;
  std::array<Way, 2> ways_;  // there and back
  std::vector<std::byte> buffer_;
  std::optional<LinkSide> near_, far_;
  std::optional<SideResult> near_result_, far_result_;
  Clock::time_point begin_ = Clock::now();
  LinkTime near_ended_{};
  bool told_near_ = false, told_far_ = false;
  bool timed_out_ = false, asked_to_end_ = false;
  Histogram late_{std::chrono::microseconds(5)};
  double cpu_before_ = 0;
};

Result<void> Emulator::start() {
  auto near_network = NetworkNamespace::create();
  if (!near_network) return Failure(near_network.error());
  auto far_network = NetworkNamespace::create();
  if (!far_network) return Failure(far_network.error());
  if (!setup_.loopback) {
    auto near_device = near_network->open_device({kNearAddress, kNearAddress6, setup_.mtu});
    if (!near_device) return Failure(near_device.error());
    auto far_device = far_network->open_device({kFarAddress, kFarAddress6, setup_.mtu});
    if (!far_device) return Failure(far_device.error());
    ways_[0].source = std::move(*near_device);
    ways_[1].source = std::move(*far_device);
  }
  if (!setup_.far.empty()) {
    auto far = LinkSide::start(setup_.loopback ? *near_network : *far_network, setup_.far);
    if (!far) return Failure(far.error());
    far_.emplace(std::move(*far));
    if (auto waited = wait_for_listeners(); !waited) return waited;
  }
  // What the devices' own start has sent is no traffic.
  for (const Way& way : ways_) {
    while (way.source && ::read(way.source.get(), buffer_.data(), buffer_.size()) > 0) continue;
  }
  ask_for_priority();
  cpu_before_ = own_cpu_seconds();
  begin_ = Clock::now();
  auto near = LinkSide::start(*near_network, setup_.near);
  if (!near) return Failure(near.error());
  near_.emplace(std::move(*near));
  return {};
}

Result<void> Emulator::wait_for_listeners() {
  const LinkTime patience = setup_.near_after.value_or(kListenPatience);
  for (const auto begin = Clock::now(); Clock::now() - begin < patience;) {
    if (!setup_.near_after && far_->listening_ports() >= setup_.far.size()) return {};
    pollfd readable{signals_.descriptor(), POLLIN, 0};
    ::poll(&readable, 1, 2);
    if (signals_.read_all()) return Failure("interrupted");
    if (const auto result = far_->ended())
      return Failure(fmt::format("the far end has ended with {}", result->exit_code));
  }
  if (setup_.near_after) return {};
  return Failure(fmt::format("the far end listens to nobody after {} s",
                             std::chrono::duration_cast<std::chrono::seconds>(kListenPatience).count()));
}

Result<LinkReport> Emulator::run() {
  if (auto started = start(); !started) return Failure(started.error());
  while (!near_result_ || (far_ && !far_result_)) {
    hand_over(ways_[0], ways_[1].source);
    hand_over(ways_[1], ways_[0].source);
    wait(now());
  }
  return report();
}

void Emulator::wait(LinkTime now) {
  LinkTime until = now + kLongestSleep;
  for (const Way& way : ways_) until = std::min(until, way.model.deadline().value_or(until));
  const LinkTime sleep = std::max(LinkTime{}, until - now - kSpin);
  std::array<pollfd, 3> polled{
      {{ways_[0].source.get(), POLLIN, 0}, {ways_[1].source.get(), POLLIN, 0}, {signals_.descriptor(), POLLIN, 0}}};
  const timespec timeout{0, static_cast<long>(sleep.count())};
  ::ppoll(polled.data(), polled.size(), &timeout, nullptr);
  for (std::size_t i = 0; i < ways_.size(); ++i) {
    if (polled[i].revents != 0) take_in(ways_[i]);
  }
  if (polled[2].revents != 0 && signals_.read_all()) asked_to_end_ = true;
  watch_sides(this->now());
}

void Emulator::watch_sides(LinkTime now) {
  if (now > setup_.time_limit && !near_result_) timed_out_ = true;
  if ((timed_out_ || asked_to_end_) && !std::exchange(told_near_, true)) near_->stop();
  if (!near_result_ && (near_result_ = near_->ended())) near_ended_ = now;
  if (near_result_ && far_ && (asked_to_end_ || timed_out_ || now > near_ended_ + setup_.linger) &&
      !std::exchange(told_far_, true)) {
    far_->stop();
  }
  if (far_ && !far_result_) far_result_ = far_->ended();
}

void Emulator::take_in(Way& way) {
  for (int i = 0; i < kPacketsAtOnce; ++i) {
    const ssize_t got = ::read(way.source.get(), buffer_.data(), buffer_.size());
    if (got <= static_cast<ssize_t>(NetworkNamespace::kHeaderBytes)) return;
    const auto size = static_cast<std::size_t>(got);
    const std::size_t ip_size = size - NetworkNamespace::kHeaderBytes;
    way.model.offer(now(), {{buffer_.begin(), buffer_.begin() + got},
                            ip_size + kEthernetBytes,
                            flow_of(buffer_.data() + NetworkNamespace::kHeaderBytes, ip_size)});
  }
}

void Emulator::hand_over(Way& way, const Descriptor& target) {
  LinkTime at = now();
  while (auto arrival = way.model.take(at)) {
    std::vector<std::byte>& bytes = arrival->packet.bytes;
    if (arrival->packet.corrupt) {
      // The last byte belongs to what the transport's checksum covers.
      complete_checksum(bytes);
      bytes.back() ^= std::byte{0x10};
    }
    late_.add(at - arrival->due);
    // A packet that the kernel has no memory for is lost, as on any card.
    [[maybe_unused]] const ssize_t written = ::write(target.get(), bytes.data(), bytes.size());
    const LinkTime after = now();
    way.receive_time += after - at;
    at = after;
  }
}

LinkReport Emulator::report() const {
  const auto seconds_of = [](LinkTime time) { return duration<double>(time).count(); };
  return {.there = ways_[0].model.counts(),
          .back = ways_[1].model.counts(),
          .flows_there = ways_[0].model.flows(),
          .flows_back = ways_[1].model.flows(),
          .near = {*near_result_, seconds_of(ways_[1].receive_time)},
          .far = {far_result_.value_or(SideResult{}), seconds_of(ways_[0].receive_time)},
          .seconds = seconds_of(near_ended_),
          .timed_out = timed_out_,
          .interrupted = asked_to_end_,
          .late = late_,
          .emulator_cpu_seconds = own_cpu_seconds() - cpu_before_};
}

}  // namespace

Result<LinkReport> run_link(const LinkSetup& setup) { return Emulator(setup).run(); }

}  // namespace portolan::bench
