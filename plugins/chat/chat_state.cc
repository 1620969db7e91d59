#include "plugins/chat/chat_state.h"

#include "base/callback.h"
#include "plugins/chat/hub.h"
#include "plugins/chat/text.h"

#include <fmt/format.h>

#include <algorithm>
#include <new>
#include <random>
#include <utility>

namespace portolan::chat {

// ---- Rooms ---------------------------------------------------------------------------------------------------

void Room::count(unsigned worker) {
  if (counts_.size() <= worker) counts_.resize(worker + 1);
  if (counts_[worker]++ == 0)
    workers_[worker / 64].fetch_or(std::uint64_t{1} << (worker % 64), std::memory_order_release);
}

void Room::discount(unsigned worker) noexcept {
  if (--counts_[worker] == 0)
    workers_[worker / 64].fetch_and(~(std::uint64_t{1} << (worker % 64)), std::memory_order_release);
}

void Room::watch(unsigned worker) {
  count(worker);
  ++watched_;
}

void Room::unwatch(unsigned worker) noexcept {
  discount(worker);
  --watched_;
}

void Room::add(User& user) {
  count(user.worker);
  members.push_back(&user);
}

void Room::remove(User& user) noexcept {
  std::erase(members, &user);
  std::erase(operators, user.id);
  discount(user.worker);
}

bool Room::is_operator(std::uint64_t user) const noexcept {
  return std::ranges::find(operators, user) != operators.end();
}

// ---- The state -----------------------------------------------------------------------------------------------

SharedState* ChatState::make() noexcept {
  SharedState* made = nullptr;
  contain("the state of a chat", [&] { made = new ChatState; });
  return made;
}

ChatState::ChatState() : identity_(std::uint64_t{std::random_device()()} << 32U | std::random_device()()) {}

ChatState::~ChatState() {
  for (auto& hub : hubs_) delete hub.load();
}

Hub& ChatState::hub(unsigned worker) {
  const std::lock_guard lock(mutex_);
  std::atomic<Hub*>& hub = hubs_.at(worker);
  if (!hub.load(std::memory_order_relaxed)) hub.store(new Hub(*this, worker), std::memory_order_release);
  return *hub.load(std::memory_order_relaxed);
}

std::shared_ptr<Room> ChatState::room_for(std::string_view name) {
  std::string key = fold(name);
  if (const auto found = rooms_.find(key); found != rooms_.end()) return found->second;
  auto room = std::make_shared<Room>(std::string(name), key);
  rooms_.emplace(std::move(key), room);
  return room;
}

ChatState::Entry ChatState::enter(User& user, std::shared_ptr<Room> room) {
  room->add(user);
  if (room->members.size() == 1 && room != first_room_) room->operators.push_back(user.id);
  Entry entry{
      .id = user.id, .topic = room->topic, .members = room->members.size(), .is_operator = room->is_operator(user.id)};
  for (const Room::Mute& mute : room->mutes)
    if (mute.user == user.id) entry.muted_until = mute.until;
  entry.room = user.room = std::move(room);
  return entry;
}

std::optional<ChatState::Heir> ChatState::exit(User& user) noexcept {
  const std::shared_ptr<Room> room = std::move(user.room);
  const bool was_operator = room->is_operator(user.id);
  room->remove(user);
  if (room == first_room_) return std::nullopt;
  if (room->members.empty()) {
    if (room->empty()) rooms_.erase(room->key);
    return std::nullopt;
  }
  if (!was_operator || !room->operators.empty()) return std::nullopt;
  const User& heir = *room->members.front();
  std::optional<Heir> told;
  contain("a new operator", [&] {
    room->operators.push_back(heir.id);
    told = Heir{heir.id, heir.worker, room->name};
  });
  return told;
}

std::expected<ChatState::Entry, std::string> ChatState::join(const Newcomer& who, std::string_view first_room) {
  if (const auto problem = name_problem(who.name); !problem.empty())
    return std::unexpected(fmt::format("This name {}.", problem));
  std::string key = fold(who.name);
  const std::lock_guard lock(mutex_);
  if (names_.contains(key)) return std::unexpected("This name is taken.");
  if (!first_room_ || first_room_->key != fold(first_room)) {
    const std::shared_ptr<Room> before = std::exchange(first_room_, room_for(first_room));
    if (before && before->empty()) rooms_.erase(before->key);
  }
  auto made = std::make_unique<User>();
  made->id = ++last_id_;
  made->worker = who.worker;
  made->address = who.address;
  made->since_ms = who.now_ms;
  made->name = who.name;
  User& user = *made;
  users_.emplace(user.id, std::move(made));
  names_.emplace(std::move(key), &user);
  return enter(user, first_room_);
}

std::expected<ChatState::Move, std::string> ChatState::move(std::uint64_t id, std::string_view name,
                                                            std::size_t max_rooms) {
  const std::lock_guard lock(mutex_);
  const auto found = users_.find(id);
  if (found == users_.end()) return std::unexpected("You are not here.");
  User& user = *found->second;
  std::shared_ptr<Room> room = first_room_;
  if (!name.empty()) {
    if (const auto problem = name_problem(name); !problem.empty())
      return std::unexpected(fmt::format("A room's name must be another: this {}.", problem));
    const bool known = rooms_.contains(fold(name));
    if (!known && rooms_.size() >= max_rooms)
      return std::unexpected(fmt::format("There are {} rooms, and there may be no more.", rooms_.size()));
    room = room_for(name);
  }
  if (room == user.room) return std::unexpected(fmt::format("You are in {} already.", room->name));
  Move move;
  move.from = user.room;
  move.heir = exit(user);
  move.entry = enter(user, std::move(room));
  return move;
}

std::expected<std::string, std::string> ChatState::rename(std::uint64_t id, std::string_view name) {
  if (const auto problem = name_problem(name); !problem.empty())
    return std::unexpected(fmt::format("This name {}.", problem));
  std::string key = fold(name);
  const std::lock_guard lock(mutex_);
  const auto found = users_.find(id);
  if (found == users_.end()) return std::unexpected("You are not here.");
  User& user = *found->second;
  if (const auto taken = names_.find(key); taken != names_.end()) {
    if (taken->second != &user) return std::unexpected("This name is taken.");
  } else {
    names_.emplace(std::move(key), &user);
    names_.erase(fold(user.name));
  }
  return std::exchange(user.name, std::string(name));
}

std::optional<ChatState::Heir> ChatState::leave(std::uint64_t id) noexcept {
  const std::lock_guard lock(mutex_);
  const auto found = users_.find(id);
  if (found == users_.end()) return std::nullopt;
  User& user = *found->second;
  for (auto& [key, room] : rooms_) std::erase_if(room->mutes, [id](const Room::Mute& mute) { return mute.user == id; });
  const auto heir = exit(user);
  contain("a name that is free again", [&] { names_.erase(fold(user.name)); });
  users_.erase(found);
  return heir;
}

std::shared_ptr<Room> ChatState::watch(std::string_view name, unsigned worker) {
  const std::lock_guard lock(mutex_);
  std::shared_ptr<Room> room = room_for(name);
  room->watch(worker);
  return room;
}

void ChatState::unwatch(const std::shared_ptr<Room>& room, unsigned worker) noexcept {
  const std::lock_guard lock(mutex_);
  room->unwatch(worker);
  if (room->empty() && room != first_room_) rooms_.erase(room->key);
}

// ---- Questions -----------------------------------------------------------------------------------------------

ChatState::Person ChatState::person(const User& user) const {
  return {.id = user.id,
          .worker = user.worker,
          .name = user.name,
          .room = user.room,
          .address = user.address,
          .since_ms = user.since_ms,
          .staff = user.staff,
          .is_operator = user.room->is_operator(user.id)};
}

std::optional<ChatState::Person> ChatState::find(std::string_view name) const {
  const std::string key = fold(name);
  const std::lock_guard lock(mutex_);
  const auto found = names_.find(key);
  if (found == names_.end()) return std::nullopt;
  return person(*found->second);
}

std::optional<ChatState::Person> ChatState::find(std::uint64_t id) const {
  const std::lock_guard lock(mutex_);
  const auto found = users_.find(id);
  if (found == users_.end()) return std::nullopt;
  return person(*found->second);
}

std::vector<ChatState::Person> ChatState::people(const Room* room) const {
  std::vector<Person> all;
  const std::lock_guard lock(mutex_);
  for (const auto& [key, user] : names_)
    if (!room || user->room.get() == room) all.push_back(person(*user));
  return all;
}

std::vector<ChatState::RoomFacts> ChatState::rooms() const {
  std::vector<RoomFacts> all;
  const std::lock_guard lock(mutex_);
  for (const auto& [key, room] : rooms_) all.push_back({room->name, room->topic, room->members.size()});
  return all;
}

std::shared_ptr<Room> ChatState::find_room(std::string_view name) const {
  const std::string key = fold(name);
  const std::lock_guard lock(mutex_);
  const auto found = rooms_.find(key);
  return found == rooms_.end() ? nullptr : found->second;
}

bool ChatState::is_first(const Room& room) const noexcept {
  const std::lock_guard lock(mutex_);
  return &room == first_room_.get();
}

std::string ChatState::topic(const Room& room) const {
  const std::lock_guard lock(mutex_);
  return room.topic;
}

void ChatState::set_topic(Room& room, std::string_view topic) {
  const std::lock_guard lock(mutex_);
  room.topic = topic;
}

void ChatState::promote(std::uint64_t id) noexcept {
  const std::lock_guard lock(mutex_);
  if (const auto found = users_.find(id); found != users_.end()) found->second->staff = true;
}

void ChatState::mute(Room& room, std::uint64_t id, Duration until, Duration now) {
  const std::lock_guard lock(mutex_);
  std::erase_if(room.mutes, [&](const Room::Mute& mute) { return mute.user == id || mute.until <= now; });
  // He may have gone in between, and nobody would forget him.
  if (until > now && users_.contains(id)) room.mutes.push_back({id, until});
}

// ---- Messages ------------------------------------------------------------------------------------------------

void ChatState::post(unsigned from, const std::shared_ptr<Room>& room, const MessageRef& message) noexcept {
  room->each_worker(
      [&](unsigned worker) { post(from, worker, {.kind = Post::Kind::room, .room = room, .message = message}); });
}

void ChatState::post(unsigned from, unsigned to, Post post) noexcept {
  Hub* hub = hubs_[to].load(std::memory_order_acquire);
  if (hub) contain("a message", [&] { hub->push(std::make_unique<Post>(std::move(post)), from); });
}

}  // namespace portolan::chat
