#include "message_recall.h"

#include "read_connection.h"

#include <algorithm>
#include <atomic>
#include <exception>
#include <iterator>
#include <utility>

namespace portolan {
namespace {

constexpr std::size_t kMostRecalledBytes = 32 << 20;
constexpr std::size_t kMostRecalledRows = 200'000;
// One takes a moment, but a script's question may run before it, and thousands of rooms may be asked for at once.
constexpr Duration kMostRecallTime = std::chrono::seconds(30);

constexpr const char* kOfRoom =
    "SELECT id, ts, service, room, sender, kind, text FROM chat_messages WHERE service = ?1 AND room = ?2"
    " ORDER BY id DESC LIMIT ?3";

// From room to room by the index: messages in between are not looked at.
constexpr const char* kOfRooms =
    "WITH RECURSIVE rooms (room) AS ("
    " SELECT min(room) FROM chat_messages WHERE service = ?1"
    " UNION ALL"
    " SELECT (SELECT min(room) FROM chat_messages WHERE service = ?1 AND room > rooms.room)"
    "  FROM rooms WHERE rooms.room IS NOT NULL)"
    " SELECT m.id, m.ts, m.service, m.room, m.sender, m.kind, m.text FROM rooms JOIN chat_messages AS m ON m.id IN"
    " (SELECT id FROM chat_messages WHERE service = ?1 AND room = rooms.room ORDER BY id DESC LIMIT ?2)";

StoredMessage message_of(StoreAnswer& answer, std::size_t row) {
  const auto integer = [&](std::size_t column) {
    const auto* const value = std::get_if<std::int64_t>(&answer.at(row, column));
    return value ? *value : 0;
  };
  const auto text = [&](std::size_t column) {
    auto* const value = std::get_if<std::string>(&answer.values[row * answer.columns.size() + column]);
    return value ? std::move(*value) : std::string();
  };
  return {.id = integer(0),
          .time_ms = integer(1),
          .service = text(2),
          .room = text(3),
          .sender = text(4),
          .kind = text(5),
          .text = text(6)};
}

// What was waiting may have been written before the file was read: by its number each is there once.
void merge(std::vector<StoredMessage>& stored, std::vector<StoredMessage>& waiting, std::size_t count) {
  stored.insert(stored.end(), std::make_move_iterator(waiting.begin()), std::make_move_iterator(waiting.end()));
  std::ranges::sort(stored, {}, &StoredMessage::id);
  const auto same = std::ranges::unique(stored, {}, &StoredMessage::id);
  stored.erase(same.begin(), same.end());
  if (stored.size() > count) stored.erase(stored.begin(), stored.end() - static_cast<std::ptrdiff_t>(count));
}

}  // namespace

std::expected<StoreAccess::QuestionId, std::string> recall_messages(QueryReader& reader, const MessageQueue& queue,
                                                                    std::string service, std::string room,
                                                                    std::uint32_t count,
                                                                    StoreAccess::Recalled recalled) noexcept {
  try {
    count = std::min(count, kMostRecalled);
    // First what waits and then the file: the other way round, one that is written in between would be in neither.
    auto waiting = queue.find(service, &room);
    StoreQuestion question{.sql = kOfRoom,
                           .parameters = {std::move(service), std::move(room), std::int64_t{count}},
                           .limits = {.rows = count, .bytes = kMostRecalledBytes, .time = kMostRecallTime}};
    auto answered = [waiting = std::move(waiting), count,
                     recalled = std::move(recalled)](std::expected<StoreAnswer, std::string> found) mutable {
      if (!found) return recalled(std::unexpected(std::move(found.error())));
      std::vector<StoredMessage> messages;
      for (std::size_t row = 0; row < found->rows(); ++row) messages.push_back(message_of(*found, row));
      merge(messages, waiting, count);
      recalled(std::move(messages));
    };
    return reader.ask(std::move(question), std::move(answered), QueryReader::Urgency::urgent);
  } catch (const std::exception& problem) {
    return std::unexpected(std::string("recent messages: ") + problem.what());
  }
}

std::expected<std::map<std::string, std::vector<StoredMessage>>, std::string> recall_rooms(const std::string& path,
                                                                                           const MessageQueue& queue,
                                                                                           const std::string& service,
                                                                                           std::uint32_t per_room,
                                                                                           Duration time) {
  per_room = std::min(per_room, kMostRecalled);
  auto waiting = queue.find(service, nullptr);
  const std::atomic<bool> cancelled{false};
  ReadConnection connection(path, cancelled);
  auto found = connection.run({.sql = kOfRooms,
                               .parameters = {service, std::int64_t{per_room}},
                               .limits = {.rows = kMostRecalledRows, .bytes = kMostRecalledBytes, .time = time}},
                              monotonic_now() + time);
  if (!found) return std::unexpected(std::move(found.error()));
  std::map<std::string, std::vector<StoredMessage>> rooms;
  std::map<std::string, std::vector<StoredMessage>> later;
  for (std::size_t row = 0; row < found->rows(); ++row) {
    StoredMessage message = message_of(*found, row);
    rooms[message.room].push_back(std::move(message));
  }
  for (StoredMessage& message : waiting) {
    rooms[message.room];
    later[message.room].push_back(std::move(message));
  }
  for (auto& [room, messages] : rooms) merge(messages, later[room], per_room);
  return rooms;
}

}  // namespace portolan
