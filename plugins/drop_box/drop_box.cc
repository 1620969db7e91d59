#include "plugins/drop_box/drop_box.h"

#include "base/callback.h"

#include <fmt/format.h>

#include <algorithm>
#include <new>
#include <utility>

namespace portolan::drop_box {
namespace {

using transfer::Outcome;

constexpr Duration kTick = std::chrono::milliseconds(100);
constexpr Duration kSweepEvery = std::chrono::hours(6);
// Of hashing in one turn.
constexpr int kStepsInOneTurn = 2;

}  // namespace

// ---- The service ---------------------------------------------------------------------------------------------

DropBox::~DropBox() = default;

bool DropBox::start(Problems& problems) {
  auto folder = transfer::ReceiveFolder::open(settings_.folder, settings_.receive, true);
  if (!folder) {
    problems.add("folder", folder.error());
    return false;
  }
  folder_ = std::move(*folder);
  woken_ = context_.timer(*this);
  finisher_ = std::make_unique<transfer::Finisher>([this] { woken_->strike(); });
  if (settings_.keep_partial > Duration::zero()) {
    sweep_timer_ = context_.timer(sweep_);
    sweep_timer_->start({}, false);
  }
  return true;
}

void DropBox::remove_stale() noexcept {
  contain("the removal of old files", [this] {
    if (const std::size_t removed = folder_->remove_stale(settings_.keep_partial); removed > 0) {
      context_.log(LogLevel::info, fmt::format("removed {} files that never became whole", removed));
    }
  });
  sweep_timer_->start(kSweepEvery, false);
}

StreamHandler* DropBox::open(Stream& stream) noexcept {
  Session* session = nullptr;
  contain("a new session", [&] {
    if (!settings_.allow.empty() && !settings_.allow.contains(Address::from(stream.peer_address()))) {
      context_.log(LogLevel::info, fmt::format("{} is not among those that may send (allow)", stream.info().peer));
      return;
    }
    auto made = std::make_unique<Session>(*this, stream);
    sessions_.push_back(made.get());
    session = made.release();
  });
  return session;
}

void DropBox::on_timer() noexcept {
  // A session that is collected may close, and leave.
  for (std::size_t i = sessions_.size(); i-- > 0;) {
    if (i < sessions_.size()) sessions_[i]->collect();
  }
}

// ---- A session -----------------------------------------------------------------------------------------------

Session::Session(DropBox& box, Stream& stream)
    : box_(box),
      stream_(stream),
      peer_(stream.info().peer),
      receiver_(box.folder(), box.finisher(), *this, box.context().now()),
      timer_(box.context().timer(*this)) {
  timer_->start(kTick, true);
}

std::size_t Session::on_data(Stream& stream, std::span<const std::byte> data) noexcept {
  if (closed_) return data.size();
  if (!admitted_ && !stream.admit(data.size())) return 0;
  admitted_ = true;
  // What comes again was counted when it came first.
  if (data.size() > passed_) {
    if (!stream.pass(data.size() - passed_)) return 0;
    passed_ = data.size();
  }
  std::size_t used = data.size();
  if (!contain("a transfer", [&] { used = take(data); })) stream.close();
  passed_ -= std::min(passed_, used);
  return used;
}

std::size_t Session::take(std::span<const std::byte> data) {
  const Duration now = box_.context().now();
  asks_ = false;
  std::size_t used = 0;
  for (int step = 0; step <= kStepsInOneTurn; ++step) {
    used += receiver_.receive(data.subspan(used), now);
    if (!receiver_.busy()) break;
    receiver_.step(now);
  }
  say();
  // More work, or a file that waits for those before it to be synced: not for more input.
  if (!closed_ && !asks_ && (receiver_.busy() || receiver_.waits_for_finisher())) wait(receiver_.busy());
  return used;
}

void Session::wait(bool for_work) {
  if (!std::exchange(paused_, true)) stream_.pause();
  if (for_work) timer_->start({}, false);
}

void Session::on_timer() noexcept {
  contain("a transfer", [this] {
    if (closed_) return;
    const Duration now = box_.context().now();
    const bool worked = receiver_.busy();
    for (int step = 0; step < kStepsInOneTurn && receiver_.busy(); ++step) receiver_.step(now);
    if (receiver_.busy()) return timer_->start({}, false);
    if (worked) {
      timer_->start(kTick, true);
      if (std::exchange(paused_, false)) stream_.resume();
    }
    say();
  });
}

void Session::collect() noexcept {
  contain("a transfer", [this] {
    if (closed_) return;
    receiver_.collect(box_.context().now());
    if (paused_ && !receiver_.busy()) {
      paused_ = false;
      stream_.resume();
    }
    say();
  });
}

void Session::say() {
  receiver_.produce(out_, box_.context().now());
  if (!out_.empty()) stream_.write(out_);
  out_.clear();
  if (closed_ || (!receiver_.finished() && receiver_.failure().empty())) return;
  closed_ = true;
  timer_->stop();
  if (receiver_.finished()) {
    box_.context().count(kTransfers);
  } else {
    box_.context().count(kTransfersRefused);
    box_.context().event("transfer_refused", fmt::format("{}: {}", peer_, receiver_.failure()));
  }
  if (std::exchange(paused_, false)) stream_.resume();
  stream_.close();
}

void Session::on_close(Stream&, NetError) noexcept {
  box_.leave(*this);
  delete this;
}

transfer::ReceiverHost::Verdict Session::on_file(const transfer::FileReport& file) noexcept {
  Hook* hook = box_.settings().on_file;
  if (!hook) return {};
  const HookField fields[] = {{"name", HookValue::of(file.path)},
                              {"size", HookValue::of(static_cast<std::int64_t>(file.size))},
                              {"sha256", HookValue::of(file.sha256)},
                              {"modified", HookValue::of(file.modified_seconds)},
                              {"new_bytes", HookValue::of(static_cast<std::int64_t>(file.new_bytes))}};
  const HookValue arguments[] = {HookValue::of(std::span<const HookField>(fields)), HookValue::of(stream_)};
  HookValue results[2];
  switch (hook->ask(stream_, arguments, results)) {
    case Hook::Outcome::failed: return {};
    case Hook::Outcome::waits: asks_ = true; return {.kind = Verdict::Kind::wait};
    case Hook::Outcome::returned: break;
  }
  try {
    const bool has_reason = results[1].kind == HookValue::Kind::text;
    switch (results[0].kind) {
      case HookValue::Kind::text: return {Verdict::Kind::rename, std::string(results[0].text)};
      case HookValue::Kind::boolean:
        if (results[0].boolean) return {};
        break;
      case HookValue::Kind::nil:
        if (!has_reason) return {};  // it has looked at the file, and says nothing
        break;
      default: box_.context().log(LogLevel::warning, "on_file returned neither a name nor a refusal"); return {};
    }
    return {Verdict::Kind::refuse, std::string(has_reason ? results[1].text : "it is not wanted")};
  } catch (const std::bad_alloc&) {
    return {.kind = Verdict::Kind::refuse};
  }
}

void Session::on_result(const transfer::FileReport& file) noexcept {
  Context& context = box_.context();
  if (file.new_bytes > 0) context.count(kFileBytes, file.new_bytes);
  switch (file.outcome) {
    case Outcome::received: context.count(kFiles); break;
    case Outcome::identical:
    case Outcome::skipped: context.count(kIdentical); break;
    default: context.count(kFilesRefused); break;
  }
  context.keep_transfer(transfer::row_of(file, peer_));
}

}  // namespace portolan::drop_box
