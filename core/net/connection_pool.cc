#include "net/connection_pool.h"

#include "base/callback.h"
#include "net/stream_connection.h"
#include "net/worker_io.h"
#include "plugin/instance.h"

#include <algorithm>
#include <utility>

namespace portolan {

// ---- Who waits, and what is done for him ---------------------------------------------------------------------

struct ConnectionPool::Waiter final : Dial {
  Waiter(ConnectionPool& owner, DialHandler& dialer, Duration now, Duration timeout) noexcept
      : pool(owner), handler(dialer), since(now), deadline(now + timeout) {}
  void cancel() noexcept override { pool.remove(*this); }

  ConnectionPool& pool;
  DialHandler& handler;
  const Duration since;
  const Duration deadline;
  Attempt* attempt = nullptr;
  std::list<Waiter>::iterator place;
};

class ConnectionPool::Attempt final : public DialHandler {
 public:
  explicit Attempt(ConnectionPool& pool) noexcept : pool_(pool) {}
  void begin() noexcept {
    dial_ = pool_.instance_.dial(pool_.target_, waiter_->deadline - pool_.instance_.now(), *this, pool_.preamble_);
  }
  bool under_way() const noexcept { return static_cast<bool>(dial_); }
  void belong_to(Waiter& waiter) noexcept {
    waiter_ = &waiter;
    waiter.attempt = this;
  }
  StreamHandler* on_dial(Stream& stream) noexcept override;
  void on_dial_failed(NetError why, std::string_view message) noexcept override;

 private:
  // Deletes itself.
  void remove() noexcept {
    std::erase_if(pool_.attempts_, [this](const auto& one) { return one.get() == this; });
  }
  ConnectionPool& pool_;
  Waiter* waiter_ = nullptr;
  DialHandle dial_;
};

// A connected stream's handler.
class ConnectionPool::PooledConnection final : public StreamHandler {
 public:
  enum class State : std::uint8_t { active, idle, leaving };
  PooledConnection(ConnectionPool& pool, Stream& connected, Duration now) noexcept
      : created(now), stream(connected), pool_(pool) {}

  // To a new user, which may answer null.
  StreamHandler* use(DialHandler& dialer) noexcept {
    state = State::active;
    StreamHandler* const handler = dialer.on_dial(stream);
    if (state == State::active) user_ = handler;
    return state == State::active && !handler ? nullptr : this;
  }
  void give_back(Duration now) noexcept {
    user_ = nullptr;
    state = State::idle;
    idle_since = now;
  }
  // Closes it; gone when the stream is.
  void leave() noexcept {
    if (state == State::leaving) return;
    state = State::leaving;
    ++pool_.leaving_;
    stream.close();
  }

  std::size_t on_data(Stream& from, std::span<const std::byte> data) noexcept override {
    if (state == State::active) {
      const std::size_t used = user_->on_data(from, data);
      if (state == State::active || used >= data.size()) return used;
    }
    drop_stale();
    return data.size();
  }
  bool on_end(Stream& from, std::span<const std::byte> rest) noexcept override {
    if (state == State::active) {
      const bool goes_on = user_->on_end(from, rest);
      if (state == State::active) return goes_on;
    }
    drop_stale();
    return false;
  }
  void on_sent(Stream& from) noexcept override {
    if (state == State::active) user_->on_sent(from);
  }
  void on_close(Stream& from, NetError why) noexcept override {
    StreamHandler* const user = state == State::active ? user_ : nullptr;
    ConnectionPool& pool = pool_;
    if (state == State::idle) ++pool.counts_.stale;
    if (state == State::leaving) --pool.leaving_;
    std::erase(pool.idle_, this);
    pool.connections_.erase(&from);
    if (!pool.waiters_.empty()) pool.soon_.run_soon();
    if (user) user->on_close(from, why);
  }

  const Duration created;
  Duration idle_since{};
  Stream& stream;
  State state = State::active;

 private:
  void drop_stale() noexcept {
    if (state != State::idle) return;
    std::erase(pool_.idle_, this);
    ++pool_.counts_.stale;
    leave();
  }

  ConnectionPool& pool_;
  StreamHandler* user_ = nullptr;
};

StreamHandler* ConnectionPool::Attempt::on_dial(Stream& stream) noexcept {
  dial_.forget();
  ConnectionPool& pool = pool_;
  PooledConnection* connection = nullptr;
  contain("a pooled connection", [&] {
    auto made = std::make_unique<PooledConnection>(pool, stream, pool.instance_.now());
    pool.idle_.reserve(pool.connections_.size() + 1);
    connection = made.get();
    pool.connections_.emplace(&stream, std::move(made));
  });
  // Who came first gets it; if that is another, this waiter is served by the other's attempt.
  Waiter& first = connection ? pool.waiters_.front() : *waiter_;
  if (&first != waiter_ && first.attempt)
    first.attempt->belong_to(*waiter_);
  else if (&first != waiter_)
    waiter_->attempt = nullptr;
  first.attempt = nullptr;
  remove();
  if (!connection) {
    DialHandler& handler = first.handler;
    pool.remove(first);
    handler.on_dial_failed(NetError::system, "out of memory");
    return nullptr;
  }
  ++pool.counts_.created;
  StreamHandler* const handler = connection->use(pool.hand_out(first));
  if (!handler) pool.connections_.erase(&stream);
  if (!pool.waiters_.empty()) pool.soon_.run_soon();
  return handler;
}

void ConnectionPool::Attempt::on_dial_failed(NetError why, std::string_view message) noexcept {
  dial_.forget();
  ConnectionPool& pool = pool_;
  Waiter& waiter = *waiter_;
  waiter.attempt = nullptr;
  ++pool.counts_.failed;
  remove();
  pool.soon_.run_soon();
  // It was begun for another, who had less time.
  if (why == NetError::timed_out && waiter.deadline > pool.instance_.now()) return;
  DialHandler& handler = waiter.handler;
  if (why == NetError::timed_out) ++pool.counts_.waited_in_vain;
  pool.remove(waiter);
  handler.on_dial_failed(why, message);
}

// ---- The pool ------------------------------------------------------------------------------------------------

ConnectionPool::ConnectionPool(Instance& instance, const Target& target, const PoolOptions& options)
    : instance_(instance),
      target_(target),
      options_(options),
      preamble_(options.preamble.begin(), options.preamble.end()),
      soon_(instance.io.loop(), [this] { run(); }),
      timer_(instance.io.loop(), [this] {
        armed_for_ = Duration::max();
        run();
      }) {}

ConnectionPool::~ConnectionPool() = default;

DialHandle ConnectionPool::acquire(Duration timeout, DialHandler& handler) noexcept {
  if (waiters_.size() >= options_.max_waiters) return {};
  Waiter* waiter = nullptr;
  contain("a wait for a connection", [&] {
    waiter = &waiters_.emplace_back(*this, handler, instance_.now(), timeout);
    waiter->place = std::prev(waiters_.end());
  });
  if (waiter) soon_.run_soon();
  return DialHandle(waiter);
}

void ConnectionPool::give_back(Stream& stream) noexcept {
  const auto found = connections_.find(&stream);
  if (found == connections_.end() || found->second->state != PooledConnection::State::active) return;
  PooledConnection& connection = *found->second;
  connection.give_back(instance_.now());
  stream.resume();
  idle_.push_back(&connection);  // there is room: reserved with the connection
  soon_.run_soon();
}

PoolStatistics ConnectionPool::statistics() const noexcept {
  PoolStatistics result = counts_;
  result.idle = static_cast<std::uint32_t>(idle_.size());
  result.active = static_cast<std::uint32_t>(connections_.size() - leaving_ - idle_.size());
  result.dialing = static_cast<std::uint32_t>(attempts_.size());
  result.waiters = static_cast<std::uint32_t>(waiters_.size());
  return result;
}

void ConnectionPool::drain() noexcept {
  draining_ = true;
  drop_idle();
}

DialHandler& ConnectionPool::hand_out(Waiter& waiter) noexcept {
  const Duration waited = instance_.now() - waiter.since;
  ++counts_.handed_out;
  counts_.wait_total += waited;
  counts_.wait_max = std::max(counts_.wait_max, waited);
  DialHandler& handler = waiter.handler;
  remove(waiter);
  return handler;
}

// An attempt that was made for him goes to the next who has none, or ends.
void ConnectionPool::remove(Waiter& waiter) noexcept {
  Attempt* const attempt = waiter.attempt;
  waiters_.erase(waiter.place);
  if (!attempt) return;
  const auto next = std::ranges::find(waiters_, nullptr, &Waiter::attempt);
  if (next != waiters_.end()) return attempt->belong_to(*next);
  std::erase_if(attempts_, [attempt](const auto& one) { return one.get() == attempt; });
}

void ConnectionPool::run() noexcept {
  WorkerIo& io = instance_.io;
  io.tick();
  fail_late_waiters();
  serve_waiters();
  begin_attempts();
  drop_idle();
  arm();
  io.settle();
}

void ConnectionPool::fail_late_waiters() noexcept {
  // From the front each time: a handler that is told may take others out.
  const auto late = [&] {
    return std::ranges::find_if(waiters_, [now = instance_.now()](const Waiter& one) { return one.deadline <= now; });
  };
  for (auto one = late(); one != waiters_.end(); one = late()) {
    const bool dialing = one->attempt != nullptr;
    DialHandler& handler = one->handler;
    ++counts_.waited_in_vain;
    remove(*one);
    handler.on_dial_failed(NetError::timed_out,
                           dialing ? "no connection in time" : "no connection of the pool became free in time");
  }
}

ConnectionPool::PooledConnection* ConnectionPool::take_idle() noexcept {
  while (!idle_.empty()) {
    PooledConnection& connection = *idle_.back();
    idle_.pop_back();
    const bool sound = static_cast<StreamConnection&>(connection.stream).reusable();
    if (sound && !worn(connection)) return &connection;
    ++(sound ? counts_.expired : counts_.stale);
    connection.leave();
  }
  return nullptr;
}

void ConnectionPool::serve_waiters() noexcept {
  // No more than there are now: whoever asks again from inside on_dial comes with the next turn.
  for (std::size_t count = waiters_.size(); count > 0 && !waiters_.empty(); --count) {
    PooledConnection* const connection = take_idle();
    if (!connection) return;
    ++counts_.reused;
    static_cast<StreamConnection&>(connection->stream).in_turn([&] {
      if (!connection->use(hand_out(waiters_.front()))) connection->leave();
    });
  }
}

void ConnectionPool::begin_attempts() noexcept {
  for (Waiter& waiter : waiters_) {
    if (connections() >= options_.max_connections) return;
    if (waiter.attempt) continue;
    contain("an attempt to connect", [&] {
      attempts_.push_back(std::make_unique<Attempt>(*this));
      attempts_.back()->belong_to(waiter);
      attempts_.back()->begin();
    });
    if (waiter.attempt && !waiter.attempt->under_way()) {
      // Out of memory: he waits for a connection that becomes free, or for his time to be up.
      waiter.attempt = nullptr;
      attempts_.pop_back();
      return;
    }
  }
}

bool ConnectionPool::worn(const PooledConnection& connection) const noexcept {
  return options_.max_lifetime > Duration::zero() && instance_.now() - connection.created >= options_.max_lifetime;
}

void ConnectionPool::drop_idle() noexcept {
  const std::size_t most = draining_ ? 0 : options_.max_idle;
  const Duration now = instance_.now();
  std::size_t over = idle_.size() - std::min(idle_.size(), most);
  std::erase_if(idle_, [&](PooledConnection* one) {
    const bool quiet = options_.idle_timeout > Duration::zero() && now - one->idle_since >= options_.idle_timeout;
    if (over == 0 && !quiet && !worn(*one)) return false;
    over -= over > 0;
    ++counts_.expired;
    one->leave();
    return true;
  });
}

void ConnectionPool::arm() noexcept {
  for (const Waiter& waiter : waiters_) wake_at(waiter.deadline);
  for (const PooledConnection* one : idle_) {
    if (options_.idle_timeout > Duration::zero()) wake_at(one->idle_since + options_.idle_timeout);
    if (options_.max_lifetime > Duration::zero()) wake_at(one->created + options_.max_lifetime);
  }
}

void ConnectionPool::wake_at(Duration time) noexcept {
  if (time >= armed_for_) return;
  armed_for_ = time;
  timer_.start(std::max(time - instance_.now(), Duration::zero()));
}

}  // namespace portolan
