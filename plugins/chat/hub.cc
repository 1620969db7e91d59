#include "plugins/chat/hub.h"

#include "base/callback.h"
#include "base/clock.h"
#include "plugins/chat/chat_service.h"
#include "plugins/chat/session.h"

#include <algorithm>
#include <span>
#include <thread>
#include <utility>

namespace portolan::chat {
namespace {

// What one turn delivers at most: then the sockets get theirs, and the writes go out.
constexpr std::size_t kMostPosts = 1024;
constexpr std::size_t kMostBytes = 64 * 1024;  // of a room
constexpr std::size_t kKeepCapacity = 256 * 1024;

class Held {
 public:
  explicit Held(bool& flag) : flag_(flag) { flag_ = true; }
  Held(const Held&) = delete;
  Held& operator=(const Held&) = delete;
  ~Held() { flag_ = false; }

 private:
  bool& flag_;
};

}  // namespace

void Hub::push(std::unique_ptr<Post> post, unsigned from) noexcept {
  if (!inbox_.push(std::move(post))) return;  // whoever was first has woken it
  if (from == worker_) return wake();
  // An instance that goes waits until nobody uses its timer any more (choose).
  striking_.fetch_add(1);
  if (Timer* timer = waker_.load()) timer->strike();
  striking_.fetch_sub(1);
}

void Hub::wake() noexcept {
  if (timer_) timer_->start(Duration::zero(), false);
}

// ---- Instances -----------------------------------------------------------------------------------------------

void Hub::enlist(ChatService& service, Timer& timer) {
  services_.push_back({&service, &timer});
  choose();
}

void Hub::dismiss(ChatService& service) noexcept {
  std::erase_if(services_, [&](const Member& member) { return member.service == &service; });
  choose();
}

void Hub::choose() noexcept {
  const auto first = std::ranges::find_if(services_, [](const Member& member) { return !member.service->draining(); });
  const Member chosen = first != services_.end() ? *first : services_.empty() ? Member{} : services_.back();
  serving_ = chosen.service;
  if (timer_ == chosen.timer) return;
  timer_ = chosen.timer;
  waker_.store(timer_);
  // For the nanoseconds that it takes another thread to leave push().
  while (striking_.load() != 0) std::this_thread::yield();
  // The one before may have been struck for what is here.
  if (timer_ && (!inbox_.empty() || rest_ || !touched_.empty() || !unfinished_.empty())) wake();
}

// ---- Members -------------------------------------------------------------------------------------------------

void Hub::add(Session& session) {
  sessions_.emplace(session.user(), &session);
  enter(session);
}

void Hub::remove(Session& session) noexcept {
  exit(session, session.room());
  sessions_.erase(session.user());
}

void Hub::change_room(Session& session, const Room* from) {
  exit(session, from);
  enter(session);
}

void Hub::enter(Session& session) {
  // What was said before he came is not for him: it takes its place in line, and he comes behind it. It is written at the
  // turn's end: of many who come in one turn, each would otherwise cost a write to everybody who is here.
  if (!delivering_) {
    const Held held(delivering_);
    take_some();
    if (rest_) {
      deliver_taken();
      take_some();
    }
  }
  LocalRoom& room = rooms_[session.room()];
  session.place = room.members.size();
  session.came_in = batch_;
  session.not_his = room.pending.size();
  room.members.push_back(&session);
}

void Hub::exit(Session& session, const Room* from) noexcept {
  const auto found = rooms_.find(from);
  if (found == rooms_.end()) return;
  LocalRoom& room = found->second;
  // Not there, when memory ran out as he came.
  if (session.place >= room.members.size() || room.members[session.place] != &session) return;
  room.members.back()->place = session.place;
  room.members[session.place] = room.members.back();
  room.members.pop_back();
  if (!room.members.empty()) return;
  std::erase(touched_, &room);
  rooms_.erase(found);
}

Session* Hub::find(std::uint64_t user) const noexcept {
  const auto found = sessions_.find(user);
  return found == sessions_.end() ? nullptr : found->second;
}

void Hub::unfinished(Session& session) {
  unfinished_.push_back(session.user());
  wake();
}

// ---- Delivery ------------------------------------------------------------------------------------------------

void Hub::deliver() noexcept {
  contain("the delivery of messages", [&] {
    go_on();
    deliver_some();
  });
}

void Hub::go_on() noexcept {
  for (const std::uint64_t user : std::exchange(unfinished_, {}))
    if (Session* session = find(user)) session->go_on_later();
}

void Hub::deliver_some() {
  const Held held(delivering_);
  take_some();
  deliver_taken();
  // What came while the rest was delivered has been told of, and that was this turn.
  if (rest_ || !inbox_.empty()) wake();
}

void Hub::deliver_taken() {
  flush();
  posts_ = bytes_ = 0;
}

// As much as a turn may deliver: what is for a room waits there for the flush.
void Hub::take_some() {
  if (!rest_) rest_ = inbox_.take_all();
  while (rest_ && posts_ < kMostPosts && bytes_ < kMostBytes) {
    const std::unique_ptr<Post> post(std::exchange(rest_, rest_->next));
    ++posts_;
    if (post->kind != Post::Kind::room) {
      // Who writes to a room and then to one of its members is read in this order.
      flush();
      handle(*post);
      continue;
    }
    bytes_ += post->message->line(Format::text).size();
    gather(*post);
  }
}

void Hub::gather(const Post& post) {
  if (Bridge* bridge = serving_ ? serving_->bridge() : nullptr; bridge && bridge->room() == post.room.get())
    bridge->forward(*post.message);
  const auto found = rooms_.find(post.room.get());
  if (found == rooms_.end()) return;
  LocalRoom& room = found->second;
  if (room.pending.empty()) touched_.push_back(&room);
  room.pending.push_back(post.message);
  if (post.message->sender() == 0) return;
  if (Session* sender = find(post.message->sender())) sender->spoke_in = batch_;
}

void Hub::handle(const Post& post) {
  if (Session* session = find(post.to)) session->receive(post);
}

void Hub::flush() {
  for (LocalRoom* room : touched_) {
    flush(*room);
    room->pending.clear();
  }
  touched_.clear();
  ++batch_;
}

std::string_view Hub::block(const LocalRoom& room, Format format) {
  const auto index = static_cast<std::size_t>(format);
  std::string& text = blocks_[index];
  if (!std::exchange(block_made_[index], true)) {
    text.clear();
    for (const MessageRef& message : room.pending) text += message->line(format);
  }
  return text;
}

void Hub::flush(LocalRoom& room) {
  block_made_ = {};
  std::uint64_t delivered = 0;
  for (Session* session : room.members) {
    const std::span<const MessageRef> his =
        std::span(room.pending).subspan(session->came_in == batch_ ? session->not_his : 0);
    if (!session->clear()) {
      for (const MessageRef& message : his)
        if (message->sender() != session->user()) session->offer(message);
    } else if (session->spoke_in != batch_ && his.size() == room.pending.size()) {
      session->write(block(room, session->format()));
      delivered += room.pending.size();
    } else {
      scratch_.clear();
      for (const MessageRef& message : his) {
        if (message->sender() == session->user()) continue;
        scratch_ += message->line(session->format());
        ++delivered;
      }
      session->write(scratch_);
    }
  }
  for (std::string* text : {&blocks_[0], &blocks_[1], &scratch_})
    if (text->capacity() > kKeepCapacity) *text = {};
  if (serving_) serving_->count(kDelivered, delivered);
}

std::string_view Hub::clock_text() noexcept {
  const std::int64_t second = unix_ms() / 1000;
  if (std::exchange(clock_second_, second) != second) {
    const CalendarTime time = local_time(second);
    const unsigned parts[] = {time.hour, time.minute, time.second};
    for (std::size_t part = 0; part < 3; ++part) {
      clock_text_[part * 3] = static_cast<char>('0' + parts[part] / 10);
      clock_text_[part * 3 + 1] = static_cast<char>('0' + parts[part] % 10);
      if (part < 2) clock_text_[part * 3 + 2] = ':';
    }
  }
  return {clock_text_, sizeof clock_text_};
}

}  // namespace portolan::chat
