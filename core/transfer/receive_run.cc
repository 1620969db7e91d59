#include "transfer/receive_run.h"

#include "base/callback.h"

#include <fmt/format.h>

#include <algorithm>
#include <csignal>
#include <utility>

namespace portolan::transfer {
namespace {

constexpr Duration kTick = std::chrono::milliseconds(100);
constexpr Duration kFarewell = std::chrono::milliseconds(100);
// A sender that lives says something twice a second. TCP alone would keep a dead one for hours.
constexpr Duration kSilence = std::chrono::seconds(30);
// For the sender, which ends the connection when it has heard that all is there.
constexpr Duration kLinger = std::chrono::seconds(5);

}  // namespace

class ReceiveRun::Session final : public LinkHandler, public ReceiverHost {
 public:
  Session(ReceiveRun& run, std::unique_ptr<Link> link)
      : run_(run),
        link_(std::move(link)),
        peer_(link_->peer()),
        receiver_(*run.folder_, *run.finisher_, *this, Loop::now()),
        pump_soon_(run.loop_, [this] { pump(); }) {
    link_->set_handler(*this);
    pump_soon_.start({});
  }

  bool gone() const noexcept { return gone_; }
  Receiver& receiver() noexcept { return receiver_; }
  void close() noexcept { link_->close(); }

  void tick(Duration now) {
    if (gone_) return;
    receiver_.collect(now);
    if (now >= receiver_.deadline() || !receiver_.failure().empty()) pump();
    const bool over = receiver_.finished() || !receiver_.failure().empty();
    if (over && over_at_ == Duration::zero()) over_at_ = now;
    if (over && now - over_at_ > kLinger) return leave("");
    if (!over && now - receiver_.heard_at() > kSilence && receiver_.activity() == Activity::receiving) {
      leave("it has fallen silent");
    }
  }

  void pump() {
    if (gone_) return;
    const Duration now = Loop::now();
    receiver_.collect(now);
    if (receiver_.busy()) {
      receiver_.step(now);
      pump_soon_.start({});
    }
    while (!receiver_.busy()) {
      const auto input = link_->peek();
      if (input.empty()) break;
      const std::size_t used = receiver_.receive(input, now);
      link_->consume(used);
      if (used == 0) break;
    }
    if (receiver_.busy()) pump_soon_.start({});
    receiver_.produce(out_, now);
    while (!out_.empty()) {
      const std::size_t taken = link_->write(out_);
      out_.erase(out_.begin(), out_.begin() + static_cast<std::ptrdiff_t>(taken));
      if (taken == 0) break;
    }
    if (receiver_.finished() && !std::exchange(told_, true)) {
      run_.view_.on_end(peer_, receiver_.files_received(), receiver_.files_not_received(), receiver_.new_bytes());
      if (run_.options_.once) {
        run_.once_done_ = true;
        run_.outcome_.complete = receiver_.files_not_received() == 0;
        run_.sweep_.start({});
      }
    }
    if (!receiver_.failure().empty() && !std::exchange(told_, true)) run_.view_.on_lost(peer_, receiver_.failure());
  }

 private:
  void leave(std::string_view why) {
    if (std::exchange(gone_, true)) return;
    link_->close();
    if (!told_) run_.view_.on_lost(peer_, why);
    run_.sweep_.start({});
  }

  void on_open() noexcept override {}
  void on_input() noexcept override { pump_soon_.start({}); }
  void on_room() noexcept override { pump_soon_.start({}); }
  void on_closed(const LinkClosed& how) noexcept override {
    contain("a connection", [&] {
      pump();  // what came before the end
      leave(how.why);
    });
  }

  void on_hello(std::uint64_t files, std::uint64_t bytes) noexcept override {
    run_.view_.on_begin(peer_, files, bytes);
  }
  void on_result(const FileReport& file) noexcept override { run_.view_.on_result(peer_, file); }

  ReceiveRun& run_;
  std::unique_ptr<Link> link_;
  const std::string peer_;
  Receiver receiver_;
  std::vector<std::byte> out_;
  LoopTimer pump_soon_;
  Duration over_at_{};
  bool told_ = false;
  bool gone_ = false;
};

ReceiveRun::ReceiveRun(const ReceiveRunOptions& options, ReceiveView& view)
    : options_(options), view_(view), tick_(loop_, [this] { tick(); }), sweep_(loop_, [this] { sweep(); }) {}

ReceiveRun::~ReceiveRun() {
  // Sessions before the listeners that their links belong to, and the finisher before the mailbox that it calls.
  sessions_.clear();
  listeners_.clear();
  finisher_.reset();
}

std::string ReceiveRun::begin() {
  auto folder = ReceiveFolder::open(options_.folder, options_.receive, true);
  if (!folder) return folder.error();
  folder_ = std::move(*folder);
  finisher_ = std::make_unique<Finisher>([this] {
    mailbox_.post([this] {
      for (const auto& session : sessions_) session->pump();
    });
  });
  std::string failed;
  for (const Place& place : options_.listen) {
    auto listener = listen(loop_, place, options_.link, *this);
    if (!listener) {
      failed = fmt::format("cannot listen on {}: {}", place.to_string(), listener.error());
      continue;
    }
    listeners_.push_back(std::move(*listener));
    view_.on_listening(listeners_.back()->local());
  }
  return listeners_.empty() ? failed : std::string();
}

ReceiveRun::Outcome ReceiveRun::run() {
  if (std::string error = begin(); !error.empty()) return {.error = std::move(error)};
  const auto stop = [this] {
    ended_ = true;
    loop_.stop();
  };
  const LoopSignal interrupted(loop_, SIGINT, stop);
  const LoopSignal terminated(loop_, SIGTERM, stop);
  tick_.start(kTick, true);
  while (!ended_) loop_.run();
  for (const auto& session : sessions_) session->close();
  LoopTimer farewell(loop_, [this] { loop_.stop(); });
  farewell.start(kFarewell);
  loop_.run();
  return outcome_;
}

bool ReceiveRun::admits(const Address& peer) noexcept {
  if (sessions_.size() >= options_.max_sessions) return false;
  if (options_.allow.empty() || options_.allow.contains(peer)) return true;
  view_.on_turned_away(peer);
  return false;
}

void ReceiveRun::on_link(std::unique_ptr<Link> link) noexcept {
  contain("a connection", [&] { sessions_.push_back(std::make_unique<Session>(*this, std::move(link))); });
}

void ReceiveRun::tick() {
  const Duration now = Loop::now();
  std::uint64_t bytes = past_bytes_;
  std::size_t active = 0;
  Activity activity = Activity::receiving;
  for (const auto& session : sessions_) {
    session->tick(now);
    bytes += session->receiver().new_bytes();
    if (session->gone() || session->receiver().finished()) continue;
    ++active;
    activity = session->receiver().activity();
  }
  if (active > 0) view_.on_progress(bytes, activity, active);
}

void ReceiveRun::sweep() {
  for (const auto& session : sessions_) {
    if (session->gone()) past_bytes_ += session->receiver().new_bytes();
  }
  std::erase_if(sessions_, [](const auto& session) { return session->gone(); });
  if (once_done_ && sessions_.empty()) {
    ended_ = true;
    loop_.stop();
  }
}

}  // namespace portolan::transfer
