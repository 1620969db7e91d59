// Messages of chats into the file, and out of it when they are too old or too many: a part of Writer.
//
// Works inside its caller's transaction; committed or undone says how that ended. Owned by Writer, on the store's thread.
#pragma once

#include "message_queue.h"
#include "sqlite.h"

#include <cstdint>
#include <map>
#include <string>

namespace portolan {

class MessageWriter {
 public:
  static std::expected<MessageWriter, SqlError> make(Connection& connection);

  // Of a service that has grown well over `most`, the oldest go at once: a busy chat would not wait for the pruning.
  SqlResult write(const MessageQueue::Group& group, std::int64_t most);
  // A batch of those older than `oldest_ms`, and of each service what is over `most`.
  SqlResult prune(std::int64_t oldest_ms, std::int64_t most);
  void committed() noexcept { rows_ = after_; }
  void undone() noexcept { after_ = rows_; }

 private:
  struct Rows {
    std::int64_t count = 0;
    std::int64_t from = 0;  // no message of the service has a lower id
  };
  using Services = std::map<std::string, Rows, std::less<>>;
  SqlResult trim(const std::string& service, Rows& rows, std::int64_t most);

  Services rows_;   // of the file, as last committed
  Services after_;  // of the transaction under way
  Statement add_, cut_, remove_, count_, remove_old_;
};

}  // namespace portolan
