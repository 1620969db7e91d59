// Finds the last messages of rooms: those in the file, and those that are still on their way to it.
#pragma once

#include "message_queue.h"
#include "query_reader.h"
#include "store_access.h"

#include <cstdint>
#include <expected>
#include <map>
#include <string>
#include <vector>

namespace portolan {

// At most so many messages of a room, and so many bytes of them.
inline constexpr std::uint32_t kMostRecalled = 10'000;

// As StoreAccess::recent_messages.
std::expected<StoreAccess::QuestionId, std::string> recall_messages(QueryReader& reader, const MessageQueue& queue,
                                                                    std::string service, std::string room,
                                                                    std::uint32_t count,
                                                                    StoreAccess::Recalled recalled) noexcept;

// Of all rooms of a service, by room; reads on the calling thread, for `time` at most.
std::expected<std::map<std::string, std::vector<StoredMessage>>, std::string> recall_rooms(const std::string& path,
                                                                                           const MessageQueue& queue,
                                                                                           const std::string& service,
                                                                                           std::uint32_t per_room,
                                                                                           Duration time);

}  // namespace portolan
