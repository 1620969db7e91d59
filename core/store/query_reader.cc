#include "query_reader.h"

#include "base/callback.h"
#include "base/clock.h"

#include <fmt/format.h>

#include <algorithm>
#include <exception>
#include <utility>

#include <pthread.h>
#include <signal.h>

namespace portolan {
namespace {

// Signals are the main thread's; whoever asks first may be it.
void become_reader() noexcept {
  sigset_t all;
  sigfillset(&all);
  pthread_sigmask(SIG_BLOCK, &all, nullptr);
  pthread_setname_np(pthread_self(), "store reader");
}

}  // namespace

QueryReader::QueryReader(std::string path, Duration idle)
    : path_(std::move(path)), idle_(idle), connection_(path_, cancel_running_) {}

std::expected<StoreAccess::QuestionId, std::string> QueryReader::ask(StoreQuestion question,
                                                                     StoreAccess::Answered answered,
                                                                     Urgency urgency) noexcept {
  try {
    const std::lock_guard lock(mutex_);
    if (stopping_) return std::unexpected(fmt::format("store \"{}\": stopped", path_));
    auto& line = waiting_[static_cast<std::size_t>(urgency)];
    if (line.size() >= (urgency == Urgency::urgent ? kMostUrgent : kMostWaiting))
      return std::unexpected(fmt::format("query: {} others wait for the store already: ask less often", line.size()));
    if (!thread_.joinable()) thread_ = std::thread([this] { run(); });
    line.push_back({.id = last_id_ + 1,
                    .question = std::move(question),
                    .answered = std::move(answered),
                    .asked = monotonic_now()});
    wake_.notify_one();
    return ++last_id_;
  } catch (const std::exception& problem) {  // no memory, no thread
    return std::unexpected(std::string("query: ") + problem.what());
  }
}

void QueryReader::cancel(StoreAccess::QuestionId id) noexcept {
  const std::lock_guard lock(mutex_);
  if (id == 0) return;
  if (id == running_) {
    cancel_running_.store(true, std::memory_order_relaxed);
    return;
  }
  for (auto& line : waiting_) {
    const auto found = std::ranges::find(line, id, &Waiting::id);
    if (found == line.end()) continue;
    found->cancelled = true;
    // Those that need no answer from the file are first in the line.
    std::rotate(line.begin(), found, found + 1);
    return;
  }
}

void QueryReader::stop() noexcept {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
    cancel_running_.store(true, std::memory_order_relaxed);
  }
  wake_.notify_all();
  if (thread_.joinable()) thread_.join();
}

void QueryReader::run() noexcept {
  become_reader();
  for (;;) {
    Waiting next;
    bool stopping = false;
    {
      std::unique_lock lock(mutex_);
      const auto woken = [this] { return stopping_ || any_waits(); };
      if (connection_.is_open() && !wake_.wait_for(lock, idle_, woken)) {
        lock.unlock();
        connection_.close();
        holds_file_.store(false, std::memory_order_relaxed);
        lock.lock();
      }
      wake_.wait(lock, woken);
      if (!any_waits()) break;
      auto& line = waiting_[waiting_[0].empty() ? 1 : 0];
      next = std::move(line.front());
      line.pop_front();
      running_ = next.id;
      stopping = stopping_;
      if (!stopping) cancel_running_.store(next.cancelled, std::memory_order_relaxed);
    }
    answer(next, stopping);
    const std::lock_guard lock(mutex_);
    running_ = 0;
  }
  connection_.close();
  holds_file_.store(false, std::memory_order_relaxed);
}

void QueryReader::answer(Waiting& waiting, bool stopping) noexcept {
  std::expected<StoreAnswer, std::string> found;
  const bool done = contain("a query", [&] {
    const Duration limit = waiting.question.limits.time;
    const Duration deadline = waiting.asked + limit;
    if (stopping) {
      found = std::unexpected(fmt::format("store \"{}\": stopped before the question had its turn", path_));
    } else if (waiting.cancelled) {
      found = std::unexpected("query: cancelled");
    } else if (monotonic_now() >= deadline) {
      found = std::unexpected(
          fmt::format("query: did not get its turn within {} ms, behind those of others", to_ms(limit)));
    } else {
      found = connection_.run(waiting.question, deadline);
      holds_file_.store(connection_.is_open(), std::memory_order_relaxed);
    }
  });
  if (!done) found = std::unexpected("query: out of memory");
  contain("the answer to a query", [&] {
    if (waiting.answered) waiting.answered(std::move(found));
  });
}

}  // namespace portolan
