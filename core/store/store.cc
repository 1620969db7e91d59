#include "store.h"

#include "base/clock.h"
#include "base/log.h"
#include "flusher.h"
#include "record_queue.h"

#include <algorithm>
#include <condition_variable>
#include <exception>
#include <mutex>
#include <thread>
#include <utility>
#include <vector>

#include <pthread.h>
#include <signal.h>

namespace portolan {
namespace {

using SteadyClock = std::chrono::steady_clock;
using std::chrono::milliseconds;

constexpr Duration kShortestInterval = milliseconds(10);
// A minute's turn is met a little late rather than a little early.
constexpr std::int64_t kAfterTurnMs = 2;

Retention retention_of(const StoreOptions& options) {
  const auto seconds = [](Duration duration) {
    return std::chrono::duration_cast<std::chrono::seconds>(duration).count();
  };
  return {seconds(options.keep_minutes), seconds(options.keep_hours), seconds(options.keep)};
}

milliseconds until_next_minute(std::int64_t now_ms) {
  std::int64_t into = now_ms % 60'000;
  if (into < 0) into += 60'000;
  return milliseconds(60'000 - into + kAfterTurnMs);
}

// Signals are the main thread's.
void block_signals() noexcept {
  sigset_t all;
  sigfillset(&all);
  pthread_sigmask(SIG_BLOCK, &all, nullptr);
}

}  // namespace

class Store::Impl {
 public:
  Impl(StoreOptions options, Flusher flusher)
      : path_(options.path),
        flusher_(std::move(flusher)),
        records_(options.session_records, options.event_records),
        options_(std::move(options)) {}

  void start(std::shared_ptr<const StatsRegistry> registry) {
    registry_ = std::move(registry);
    {
      const std::lock_guard lock(mutex_);
      running_ = true;
      stopping_ = false;
    }
    // What was counted before this belongs to the first interval.
    thread_ = std::thread([this] { run(); });
  }

  void stop() noexcept {
    {
      const std::lock_guard lock(mutex_);
      if (stopped_) return;
      stopped_ = true;
      stopping_ = true;
    }
    wake_.notify_all();
    if (thread_.joinable()) {
      thread_.join();
    } else {
      flusher_.close();
    }
  }

  void reconfigure(const StoreOptions& options) {
    records_.set_bounds(options.session_records, options.event_records);
    {
      const std::lock_guard lock(mutex_);
      options_ = options;
      reconfigured_ = true;
    }
    wake_.notify_all();
  }

  void flush(std::function<void(std::string)> done) {
    {
      const std::lock_guard lock(mutex_);
      if (running_ && !stopping_) {
        requests_.push_back(std::move(done));
        wake_.notify_all();
        return;
      }
    }
    if (done) done("store \"" + path_ + "\": not running");
  }

  Health health() const {
    const std::lock_guard lock(mutex_);
    Health health = health_;
    health.records_lost = records_.lost();
    return health;
  }

  RecordQueue& records() noexcept { return records_; }
  Flusher& flusher() noexcept { return flusher_; }
  const std::string& path() const noexcept { return path_; }

 private:
  using Requests = std::vector<std::function<void(std::string)>>;

  void run() noexcept {
    block_signals();
    SteadyClock::time_point next_write = SteadyClock::now();
    for (bool first = true;; first = false) {
      Requests requests;
      Retention retention;
      Duration flush_every{};
      bool stopping = false;
      {
        std::unique_lock lock(mutex_);
        const auto turn = SteadyClock::now() + until_next_minute(unix_ms());
        const auto woken = [this] { return stopping_ || reconfigured_ || !requests_.empty(); };
        if (!first) wake_.wait_until(lock, std::min<SteadyClock::time_point>(turn, next_write), woken);
        requests.swap(requests_);
        stopping = stopping_;
        flush_every = std::max(options_.flush_every, kShortestInterval);
        retention = retention_of(options_);
        reconfigured_ = false;
      }
      const auto now = SteadyClock::now();
      next_write = std::min(next_write, now + flush_every);
      // An interval of at most a minute is cut at the minute's turn, so that no minute waits for a later one; a longer
      // one was asked for to spare the disk.
      const bool due = now >= next_write || (flush_every <= std::chrono::minutes(1) && minute_turned());
      const bool write = due || stopping || !requests.empty();
      if (write) next_write = now + flush_every;
      const std::string error = work(write, stopping, retention);
      for (auto& done : requests) answer(done, error);
      if (stopping) break;
    }
    flusher_.close();
    Requests late;
    {
      const std::lock_guard lock(mutex_);
      running_ = false;
      late.swap(requests_);
    }
    for (auto& done : late) answer(done, "store \"" + path_ + "\": stopped");
  }

  bool minute_turned() noexcept {
    const std::int64_t minute = unix_ms() / 60'000;
    return std::exchange(minute_, minute) != minute;
  }

  // The boundary of the thread: whatever goes wrong ends up in health().
  std::string work(bool write, bool stopping, const Retention& retention) noexcept {
    try {
      const std::int64_t now_ms = unix_ms();
      try {
        flusher_.take(*registry_, now_ms);
        if (!write) return {};
        auto written = flusher_.write(records_, retention, now_ms, stopping);
        if (!written) return failed(std::move(written.error()), now_ms);
        succeeded(*written, now_ms);
        return {};
      } catch (const std::exception& exception) {
        return failed("store \"" + path_ + "\": " + exception.what(), now_ms);
      }
    } catch (...) {
      return "out of memory";
    }
  }

  std::string failed(std::string sentence, std::int64_t now_ms) {
    bool news = false;
    {
      const std::lock_guard lock(mutex_);
      news = health_.ok || health_.error != sentence;
      if (health_.ok) health_.failing_since_ms = now_ms;
      health_.ok = false;
      health_.error = sentence;
      ++health_.failures;
    }
    if (news) log::error("{}", sentence);
    return sentence;
  }

  void succeeded(bool written, std::int64_t now_ms) {
    bool recovered = false;
    {
      const std::lock_guard lock(mutex_);
      recovered = !health_.ok;
      health_.ok = true;
      health_.error.clear();
      health_.failing_since_ms = 0;
      if (written) {
        health_.last_flush_ms = now_ms;
        ++health_.flushes;
      }
    }
    if (recovered) log::info("store \"{}\": works again; what was counted meanwhile is written", path_);
  }

  static void answer(const std::function<void(std::string)>& done, const std::string& error) noexcept {
    try {
      if (done) done(error);
    } catch (...) {
      log::error("a callback after a flush of the store threw an exception");
    }
  }

  const std::string path_;
  Flusher flusher_;  // the main thread's until start, then the thread's
  RecordQueue records_;
  std::shared_ptr<const StatsRegistry> registry_;
  std::int64_t minute_ = unix_ms() / 60'000;

  mutable std::mutex mutex_;  // guards what follows
  std::condition_variable wake_;
  StoreOptions options_;
  Requests requests_;
  Health health_;
  bool running_ = false;
  bool stopping_ = false;
  bool stopped_ = false;
  bool reconfigured_ = false;
  std::thread thread_;
};

std::expected<std::unique_ptr<Store>, std::string> Store::open(const StoreOptions& options) {
  auto flusher = Flusher::open(options.path);
  if (!flusher) return std::unexpected(flusher.error());
  return std::unique_ptr<Store>(new Store(std::make_unique<Impl>(options, std::move(*flusher))));
}

Store::Store(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Store::~Store() { stop(); }
void Store::start(std::shared_ptr<const StatsRegistry> registry) { impl_->start(std::move(registry)); }
void Store::stop() noexcept { impl_->stop(); }
void Store::reconfigure(const StoreOptions& options) { impl_->reconfigure(options); }
bool Store::takes_sessions() const noexcept { return impl_->records().takes_sessions(); }
void Store::add(SessionRecord record) noexcept { impl_->records().add(std::move(record)); }
void Store::add(EventRecord record) noexcept { impl_->records().add(std::move(record)); }
void Store::add(BanRecord record) noexcept { impl_->records().add(std::move(record)); }
std::expected<std::vector<Ban>, std::string> Store::bans() { return impl_->flusher().bans(); }
void Store::flush(std::function<void(std::string error)> done) { impl_->flush(std::move(done)); }
Store::Health Store::health() const { return impl_->health(); }
const std::string& Store::path() const noexcept { return impl_->path(); }

}  // namespace portolan
