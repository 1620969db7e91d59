// A sender and a receiver with two pipes between them, in one thread: what a transfer's tests drive step by step.
//
// The pipes hold what is under way: bytes that are lost when a side dies. Deterministic by its seed, but for when the
// finisher's thread is done, which is waited for where nothing else is left to do.
#pragma once

#include "transfer/receiver.h"
#include "transfer/sender.h"

#include <condition_variable>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <random>
#include <string>
#include <vector>

namespace portolan::testing {

using namespace portolan::transfer;

struct Heard final : SenderEvents {
  void on_result(const SourceEntry& entry, std::string_view text) noexcept override {
    outcomes[entry.path] = entry.outcome;
    texts[entry.path] = text;
  }
  void on_note(const SourceEntry& entry, std::string_view text) noexcept override { notes[entry.path] += text; }
  std::map<std::string, Outcome> outcomes;
  std::map<std::string, std::string> texts;
  std::map<std::string, std::string> notes;
};

struct Host final : ReceiverHost {
  Verdict on_file(const FileReport& file) noexcept override { return judge ? judge(file) : Verdict{}; }
  void on_result(const FileReport& file) noexcept override {
    outcomes[std::string(file.path)] = file.outcome;
    hashes[std::string(file.path)] = file.sha256;
    new_bytes += file.new_bytes;
  }
  std::function<Verdict(const FileReport&)> judge;
  std::map<std::string, Outcome> outcomes;
  std::map<std::string, std::string> hashes;
  std::uint64_t new_bytes = 0;
};

class Pair {
 public:
  Pair(SourceTree& tree, ReceiveFolder& folder, unsigned seed = 1) : tree_(tree), folder_(folder), random_(seed) {
    connect();
  }

  // A new connection, both sides anew.
  void connect() {
    to_receiver_.clear();
    to_sender_.clear();
    receiver_.reset();
    sender_ = std::make_unique<Sender>(tree_, TransferId{}, heard);
    receiver_ = std::make_unique<Receiver>(folder_, finisher_, host, now);
  }
  void let_sender_die() { sender_.reset(); }

  // One piece of work. False: nothing is left to do.
  bool turn() {
    now += std::chrono::milliseconds(1);
    bool worked = false;
    if (sender_ && to_receiver_.size() < window) worked = produce_sender() || worked;
    worked = pass_to_receiver() || worked;
    receiver_->collect(now);
    receiver_->produce(to_sender_, now);
    if (now - answered_at_ >= answers_every) {
      worked = pass_to_sender() || worked;
      answered_at_ = now;
    }
    return worked;
  }
  // Until the transfer has ended, or `enough` says so.
  void run(const std::function<bool()>& enough = [] { return false; }) {
    for (int idle = 0; idle < 20'000 && !ended() && !enough();) {
      const std::uint64_t before = wakes();
      if (turn()) {
        idle = 0;
      } else if (++idle % 1000 == 0) {
        wait_for_finisher(before);
      }
    }
  }
  bool ended() const {
    return !sender_->failure().empty() || !receiver_->failure().empty() ||
           (sender_->finished() && receiver_->finished());
  }
  // Data that left the sender.
  std::uint64_t data_sent = 0;

  Sender& sender() { return *sender_; }
  Receiver& receiver() { return *receiver_; }
  std::vector<std::byte>& to_receiver() { return to_receiver_; }
  std::size_t window = 256 * 1024;
  std::size_t most_at_once = 100'000;
  Duration answers_every{};  // so that the sender goes on before it has heard
  Heard heard;
  Host host;
  Duration now = std::chrono::seconds(1000);

 private:
  bool produce_sender() {
    const std::uint64_t before = sender_->state().sent;
    const bool worked = sender_->produce(to_receiver_, now);
    data_sent += sender_->state().sent - before;
    return worked;
  }
  bool pass_to_receiver() {
    if (receiver_->busy()) {
      receiver_->step(now);
      return true;
    }
    const std::size_t some = std::min<std::size_t>(to_receiver_.size(), visible_ + random_() % most_at_once + 1);
    const std::size_t used = receiver_->receive(std::span(to_receiver_).first(some), now);
    visible_ = some - used;  // what it has seen and not taken
    to_receiver_.erase(to_receiver_.begin(), to_receiver_.begin() + static_cast<std::ptrdiff_t>(used));
    return used > 0;
  }
  bool pass_to_sender() {
    if (!sender_ || to_sender_.empty()) return false;
    const std::size_t used = sender_->receive(to_sender_, now);
    to_sender_.erase(to_sender_.begin(), to_sender_.begin() + static_cast<std::ptrdiff_t>(used));
    return used > 0;
  }
  std::uint64_t wakes() {
    const std::lock_guard lock(mutex_);
    return wakes_;
  }
  void wait_for_finisher(std::uint64_t before) {
    std::unique_lock lock(mutex_);
    woken_.wait_for(lock, std::chrono::milliseconds(200), [&] { return wakes_ != before; });
  }

  SourceTree& tree_;
  ReceiveFolder& folder_;
  std::minstd_rand random_;
  std::mutex mutex_;
  std::condition_variable woken_;
  std::uint64_t wakes_ = 0;
  Finisher finisher_{[this] {
    {
      const std::lock_guard lock(mutex_);
      ++wakes_;
    }
    woken_.notify_one();
  }};
  std::vector<std::byte> to_receiver_, to_sender_;
  std::size_t visible_ = 0;
  Duration answered_at_ = now;
  std::unique_ptr<Sender> sender_;
  std::unique_ptr<Receiver> receiver_;
};

}  // namespace portolan::testing
