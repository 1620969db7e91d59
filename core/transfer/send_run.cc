#include "transfer/send_run.h"

#include "base/callback.h"

#include <fmt/format.h>
#include <openssl/rand.h>

#include <algorithm>
#include <utility>

namespace portolan::transfer {
namespace {

constexpr Duration kTick = std::chrono::milliseconds(200);
constexpr Duration kFirstRetry = std::chrono::milliseconds(250);
constexpr Duration kLongestRetry = std::chrono::seconds(5);
// For the last word to the peer to leave this machine: a turn of the loop, or two.
constexpr Duration kFarewell = std::chrono::milliseconds(2);

}  // namespace

SendRun::SendRun(SourceTree& tree, const SendOptions& options, SendView& view)
    : tree_(tree),
      options_(options),
      view_(view),
      tick_(loop_, [this] { tick(); }),
      pump_soon_(loop_, [this] { pump(); }),
      retry_(loop_, [this] { connect(); }) {
  RAND_bytes(reinterpret_cast<unsigned char*>(transfer_.data()), static_cast<int>(transfer_.size()));
}

SendRun::~SendRun() = default;

SendOutcome SendRun::run() {
  tick_.start(kTick, true);
  connect();
  while (!ended_) loop_.run();
  tick_.stop();
  retry_.stop();
  outcome_.figures = figures();
  if (link_) {
    link_->close();
    LoopTimer farewell(loop_, [this] { loop_.stop(); });
    farewell.start(kFarewell);
    loop_.run();
  }
  for (const SourceEntry& entry : tree_.entries) {
    if (entry.settled && (entry.outcome == Outcome::refused || entry.outcome == Outcome::failed)) ++outcome_.failed;
  }
  return std::move(outcome_);
}

void SendRun::end(std::string why) {
  if (std::exchange(ended_, true)) return;
  outcome_.why = std::move(why);
  outcome_.complete = outcome_.why.empty();
  outcome_.no_answer = !ever_answered_;
  loop_.stop();
}

// ---- Connections ----

void SendRun::connect() {
  gone_.clear();
  if (ended_ || link_) return;
  if (options_.place.name.empty()) {
    addresses_ = {options_.place.address};
    return dial_next();
  }
  if (!resolver_) resolver_.emplace(loop_);
  lookup_ = resolver_->resolve(options_.place.name, AddressFamily::any, [this](const ResolveResult& found) {
    if (!found) {
      outcome_.not_found = found.error().error == NetError::name_not_found;
      return lost(fmt::format("{}: {}", options_.place.name, found.error().message), outcome_.not_found);
    }
    addresses_.clear();
    for (const ResolvedAddress& one : found->addresses) {
      addresses_.push_back(one.address);
      addresses_.back().set_port(options_.place.address.port());
    }
    dial_next();
  });
}

// Another one with each attempt: the first may be one that leads nowhere.
void SendRun::dial_next() {
  Place place = options_.place;
  place.name.clear();
  place.address = addresses_[next_address_++ % addresses_.size()];
  auto dialed = dial(loop_, place, options_.link, *this);
  if (!dialed) return lost(dialed.error(), false);
  link_ = std::move(*dialed);
}

void SendRun::on_open() noexcept {
  contain("a connection", [this] {
    connected_ = true;
    settled_before_ = figures().bytes_done;  // without a sender: of settled files alone
    sender_ = std::make_unique<Sender>(tree_, transfer_, view_);
    signs_seen_ = 0;
    pump_soon_.start({});
  });
}
void SendRun::on_input() noexcept { pump_soon_.start({}); }
void SendRun::on_room() noexcept { pump_soon_.start({}); }

void SendRun::on_closed(const LinkClosed& how) noexcept {
  contain("a connection", [&] {
    if (sender_) pump();  // what came before the end: it may say why
    if (!ended_ && link_) lost(how.why, how.final);
  });
}

void SendRun::drop_link() {
  if (link_) {
    link_->close();
    gone_.push_back(std::move(link_));
  }
  if (sender_) {
    const SendState& state = sender_->state();
    past_.new_bytes += state.confirmed;
    past_.sent += state.sent;
    sender_.reset();
  }
  connected_ = false;
  out_.clear();
  out_used_ = 0;
}

void SendRun::lost(std::string_view why, bool final) {
  const std::string reason(why);
  drop_link();
  const Duration idle = Loop::now() - last_progress_;
  if (final) return end(reason);
  if (idle >= patience())
    return end(fmt::format("{} (no progress for {} s)", reason,
                           std::chrono::duration_cast<std::chrono::seconds>(idle).count()));
  const Duration wait = std::min(kLongestRetry, kFirstRetry * (1 << std::min(attempts_, 5)));
  ++attempts_;
  outcome_.why = reason;
  view_.on_lost(reason, wait);
  retry_.start(wait);
}

// ---- Bytes ----

void SendRun::pump() {
  if (!link_ || !sender_ || ended_) return;
  const Duration now = Loop::now();
  for (;;) {
    const auto input = link_->peek();
    if (input.empty()) break;
    const std::size_t used = sender_->receive(input, now);
    link_->consume(used);
    if (used == 0) break;
  }
  if (const std::uint64_t signs = sender_->state().signs_of_life; signs != signs_seen_) {
    signs_seen_ = signs;
    last_progress_ = now;
    attempts_ = 0;
    ever_answered_ = true;
  }
  if (!sender_->failure().empty()) return lost(std::string(sender_->failure()), sender_->refused());
  if (sender_->finished()) return end({});
  if (out_used_ == out_.size()) {
    out_.clear();
    out_used_ = 0;
    if (!sender_->produce(out_, now)) return;
  }
  while (out_used_ < out_.size()) {
    const std::size_t taken = link_->write(std::span(out_).subspan(out_used_));
    out_used_ += taken;
    if (taken == 0) return;  // on_room comes
  }
  pump_soon_.start({});  // one piece, which is hashed in less than a millisecond: packets have their turn in between
}

void SendRun::tick() {
  const Duration now = Loop::now();
  if (sender_ && now >= sender_->deadline()) pump();
  if (ended_) return;
  view_.on_progress(figures());
  const Duration idle = now - last_progress_;
  if (idle >= patience()) {
    const std::string last = outcome_.why.empty() ? "the other side does not go on" : outcome_.why;
    return lost(last, false);
  }
  if (idle >= options_.stall && now - last_said_ >= options_.stall) {
    last_said_ = now;
    view_.on_stall(idle);
    if (link_) lost("no progress", false);
  }
}

SendFigures SendRun::figures() const {
  SendFigures all = past_;
  for (const SourceEntry& entry : tree_.entries) {
    if (entry.kind != EntryKind::file) continue;
    ++all.files;
    all.bytes += entry.data;
    if (!entry.settled) continue;
    ++all.files_done;
    all.bytes_done += entry.data;
  }
  all.connected = connected_;
  if (!sender_) return all;
  const SendState& state = sender_->state();
  all.new_bytes += state.confirmed;
  all.sent += state.sent;
  all.activity = state.activity;
  // Of what this connection has brought, the part that is of files under way.
  all.bytes_done = std::min(all.bytes, std::max(all.bytes_done, settled_before_ + state.kept + state.confirmed));
  if (link_) all.link = link_->figures();
  return all;
}

}  // namespace portolan::transfer
