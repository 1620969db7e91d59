#include "rudp_host.h"

#include "base/callback.h"

#include <algorithm>

namespace portolan {

namespace {

// How long the end of all connections may take: what is under way, and that the peers are told.
constexpr Duration kEnd = std::chrono::seconds(3);

}  // namespace

RudpHost::RudpHost(Loop& loop)
    : loop_(loop),
      soon_(loop, [this] { take_turns(); }),
      later_(loop, [this] { take_turns(); }),
      quiet_(loop,
             [this] {
               if (!when_quiet_ || !quiet()) return;
               const auto task = std::exchange(when_quiet_, nullptr);
               task();
             }),
      end_(loop, [this] {
        if (auto done = std::exchange(ended_, nullptr)) done();
      }) {}

RudpHost::~RudpHost() {
  socket_.reset();  // in which connections end without a word
  links_.clear();
  for (RudpStream* stream : streams_) stream->host_ = nullptr;
}

bool RudpHost::quiet() const noexcept {
  return streams_.empty() && std::ranges::all_of(links_, [](const auto& link) { return link.second->delivered(); });
}

void RudpHost::remove(RudpStream& stream) noexcept {
  streams_.erase(&stream);
  if (!stream.queued_) return;
  std::ranges::replace(queue_, &stream, nullptr);
  std::ranges::replace(turns_, &stream, nullptr);
}

void RudpHost::queue(RudpStream& stream, When when) noexcept {
  if (!stream.queued_ && !contain("a stream's turn", [&] { queue_.push_back(&stream); })) return;
  if (when == When::this_turn)
    soon_.run_soon();
  else if (!stream.queued_ && !later_.running())
    later_.start(Duration::zero());
  stream.queued_ = true;
}

bool RudpHost::arrived(RudpLink& link, rudp::StreamId id) noexcept {
  if (!contain("a stream of a peer", [&] { arrived_.emplace_back(&link, id); })) return false;
  soon_.run_soon();
  return true;
}

void RudpHost::take_turns() noexcept {
  for (const auto& [link, id] : std::exchange(arrived_, {}))
    if (links_.contains(link)) accept(*link, id);
  // What is queued meanwhile gets its turn in the next one, so that the loop looks at its descriptors between.
  turns_.swap(queue_);
  for (std::size_t i = 0; i < turns_.size(); ++i) {
    RudpStream* const stream = turns_[i];
    if (!stream) continue;
    const auto events = static_cast<short>(stream->ready() & stream->wanted_);
    if (events) stream->handler_(-1, events, stream->owner_);
    if (!turns_[i]) continue;  // it has gone
    stream->queued_ = false;
    if (events && (stream->ready() & stream->wanted_)) queue(*stream, When::next_turn);
  }
  turns_.clear();
}

// ---- Links ---------------------------------------------------------------------------------------------------

RudpLink* RudpHost::add_link(const rudp::ConnectionOptions& options, const Address& to) noexcept {
  RudpLink* added = nullptr;
  contain("a connection", [&] {
    auto link = std::make_unique<RudpLink>(*this, options, to);
    RudpLink* raw = link.get();
    links_.emplace(raw, std::move(link));
    added = raw;
  });
  return added;
}

void RudpHost::closed(RudpLink& link) noexcept {
  forget(link);
  links_.erase(&link);
  link_changed();
}

void RudpHost::link_changed() noexcept {
  if (ended_) look_after_end();
  if (when_quiet_) quiet_.run_soon();
  settled();
}

void RudpHost::when_quiet(std::function<void()> task) {
  when_quiet_ = std::move(task);
  quiet_.run_soon();
}

void RudpHost::shut_down(std::function<void()> done) {
  when_quiet_ = nullptr;
  ended_ = std::move(done);
  end_.start(kEnd);
  look_after_end();
}

void RudpHost::look_after_end() noexcept {
  if (!closing_ && !quiet()) return;
  if (!std::exchange(closing_, true) && socket_) socket_->endpoint().close_all(RudpStream::kClosed, {});
  if (links_.empty()) end_.start(Duration::zero());
}

}  // namespace portolan
