#include "store.h"

#include "base/clock.h"
#include "base/log.h"
#include "flusher.h"
#include "message_recall.h"
#include "query_reader.h"

#include <algorithm>
#include <atomic>
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
  return {.minutes = seconds(options.keep_minutes),
          .hours = seconds(options.keep_hours),
          .days = seconds(options.keep),
          .messages = seconds(options.keep_messages),
          .messages_per_service = options.messages_per_service};
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
        inbox_{.records = {options.session_records, options.event_records},
               .values = {options.script_keys, static_cast<std::size_t>(options.script_bytes)},
               .messages = {}},
        reader_(options.path),
        keeps_messages_(options.messages_per_service > 0),
        options_(std::move(options)) {}

  std::expected<void, std::string> load() {
    auto values = flusher_.values();
    if (!values) return std::unexpected(values.error());
    inbox_.values.load(std::move(*values));
    const auto last_message = flusher_.last_message_id();
    if (!last_message) return std::unexpected(last_message.error());
    inbox_.messages.start_after(*last_message);
    return {};
  }

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
    // First: the writer's connection empties the log when it closes, and a reader would keep it from that.
    reader_.stop();
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
    inbox_.records.set_bounds(options.session_records, options.event_records);
    inbox_.values.set_bounds(options.script_keys, static_cast<std::size_t>(options.script_bytes));
    keeps_messages_.store(options.messages_per_service > 0, std::memory_order_relaxed);
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
    health.records_lost = inbox_.records.lost() + inbox_.messages.lost();
    return health;
  }

  void keep_message(std::string_view service, const KeptMessage& message) noexcept {
    if (!keeps_messages_.load(std::memory_order_relaxed)) return;
    if (!inbox_.messages.add(service, message)) return;
    // Once for a group: with the lock, so that the thread cannot be just about to wait.
    {
      const std::lock_guard lock(mutex_);
    }
    wake_.notify_all();
  }

  Inbox& inbox() noexcept { return inbox_; }
  QueryReader& reader() noexcept { return reader_; }
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
        const auto woken = [this] { return stopping_ || reconfigured_ || !requests_.empty() || group_waits(); };
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
      const std::string error = work(write, stopping || !requests.empty(), stopping, retention);
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

  // Not while the disk fails: then the next flush tries.
  bool group_waits() const noexcept { return !failing_ && inbox_.messages.waiting() >= MessageQueue::kGroup; }

  // The boundary of the thread: whatever goes wrong ends up in health(). `all`: the messages that wait now, too.
  std::string work(bool write, bool all, bool stopping, const Retention& retention) noexcept {
    try {
      const std::int64_t now_ms = unix_ms();
      try {
        flusher_.take(*registry_, now_ms);
        if (write) {
          auto written = flusher_.write(inbox_, retention, now_ms, stopping);
          if (!written) return failed(std::move(written.error()), now_ms);
          succeeded(*written, now_ms);
        }
        // A bounded number of groups: others want their turn, however fast messages come.
        std::size_t groups = inbox_.messages.waiting() / MessageQueue::kMostInGroup + 2;
        for (; groups > 0 && (all ? inbox_.messages.waiting() > 0 : group_waits()); --groups) {
          auto written = flusher_.write_messages(inbox_.messages, retention);
          if (!written) return failed(std::move(written.error()), now_ms);
          succeeded(*written, now_ms);
        }
        return {};
      } catch (const std::exception& exception) {
        return failed("store \"" + path_ + "\": " + exception.what(), now_ms);
      }
    } catch (...) {
      return "out of memory";
    }
  }

  std::string failed(std::string sentence, std::int64_t now_ms) {
    failing_ = true;
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
    failing_ = false;
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
  Inbox inbox_;
  QueryReader reader_;
  std::atomic<bool> keeps_messages_;
  bool failing_ = false;  // the thread's own
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
  auto store = std::unique_ptr<Store>(new Store(std::make_unique<Impl>(options, std::move(*flusher))));
  if (auto loaded = store->impl_->load(); !loaded) return std::unexpected(loaded.error());
  return store;
}

Store::Store(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Store::~Store() { stop(); }
void Store::start(std::shared_ptr<const StatsRegistry> registry) { impl_->start(std::move(registry)); }
void Store::stop() noexcept { impl_->stop(); }
void Store::reconfigure(const StoreOptions& options) { impl_->reconfigure(options); }
bool Store::takes_sessions() const noexcept { return impl_->inbox().records.takes_sessions(); }
void Store::add(SessionRecord record) noexcept { impl_->inbox().records.add(std::move(record)); }
void Store::add(EventRecord record) noexcept { impl_->inbox().records.add(std::move(record)); }
void Store::add(BanRecord record) noexcept { impl_->inbox().records.add(std::move(record)); }
std::expected<std::vector<Ban>, std::string> Store::bans() { return impl_->flusher().bans(); }
void Store::stop_answering() noexcept { impl_->reader().stop(); }

std::expected<StoreAccess::QuestionId, std::string> Store::ask(StoreQuestion question, Answered answered) noexcept {
  return impl_->reader().ask(std::move(question), std::move(answered));
}
void Store::cancel(QuestionId id) noexcept { impl_->reader().cancel(id); }
std::expected<void, std::string> Store::put(std::string_view service, std::string_view key, StoreValue value,
                                            std::int64_t expires_ms) noexcept {
  return impl_->inbox().values.put(service, key, std::move(value), expires_ms);
}
std::expected<StoreValue, std::string> Store::get(std::string_view service, std::string_view key) noexcept {
  return impl_->inbox().values.get(service, key);
}
std::expected<std::int64_t, std::string> Store::increment(std::string_view service, std::string_view key,
                                                          std::int64_t by, std::int64_t expires_ms) noexcept {
  return impl_->inbox().values.increment(service, key, by, expires_ms);
}
void Store::keep_message(std::string_view service, const KeptMessage& message) noexcept {
  impl_->keep_message(service, message);
}
void Store::keep_transfer(std::string_view service, const KeptTransfer& transfer) noexcept {
  impl_->inbox().records.add(service, transfer);
}
std::expected<StoreAccess::QuestionId, std::string> Store::recent_messages(std::string service, std::string room,
                                                                           std::uint32_t count,
                                                                           Recalled recalled) noexcept {
  return recall_messages(impl_->reader(), impl_->inbox().messages, std::move(service), std::move(room), count,
                         std::move(recalled));
}
std::expected<Store::Rooms, std::string> Store::chat_rooms(const std::string& service, std::uint32_t per_room) {
  return recall_rooms(path(), impl_->inbox().messages, service, per_room, kMostReading);
}

void Store::flush(std::function<void(std::string error)> done) { impl_->flush(std::move(done)); }
Store::Health Store::health() const { return impl_->health(); }
const std::string& Store::path() const noexcept { return impl_->path(); }

}  // namespace portolan
