// Messages between scripts: of all services, on all workers, of all generations. A message is immutable and shared by whoever
// gets it; nothing is kept for those who come later.
//
// The bus is shared by all workers. Publishing looks at an immutable table and takes the lock of each worker's inbox for a
// moment; subscribing makes the next table. What one script publishes arrives everywhere in its order.
#pragma once

#include <atomic>
#include <cstddef>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <vector>

namespace portolan {

class WorkerIo;

struct BusMessage {
  std::string topic;
  std::string value;
  bool json = false;  // otherwise the value is a text as it is
};

class ScriptBus {
 public:
  using Message = std::shared_ptr<const BusMessage>;

  // Whoever is told on a worker. Its thread.
  class Listener {
   public:
    virtual void on_message(const Message& message) noexcept = 0;
    virtual bool wants(std::string_view topic) const noexcept = 0;

   protected:
    ~Listener() = default;
  };

  // The listeners of one worker's scripts in one generation, and what has been published for them.
  class Inbox : public std::enable_shared_from_this<Inbox> {
   public:
    static constexpr std::size_t kMost = 100'000;  // messages that wait for the worker; over either the newest is lost
    static constexpr std::size_t kMostBytes = 64U << 20U;
    Inbox(ScriptBus& bus, WorkerIo& io) : bus_(bus), io_(&io) {}
    void add(Listener& listener, const std::string& pattern);
    void remove(Listener& listener, const std::string& pattern) noexcept;
    void close() noexcept;  // the worker's script goes

   private:
    friend class ScriptBus;
    void put(Message message);
    void deliver() noexcept;

    ScriptBus& bus_;
    std::mutex mutex_;
    WorkerIo* io_;
    std::vector<Message> messages_;
    std::size_t bytes_ = 0;
    std::vector<Listener*> listeners_;  // the worker's thread
    bool posted_ = false;
  };

  // Any thread. Answers how many workers it is for.
  std::size_t publish(Message message);

 private:
  // Topics, and beginnings of topics: "sensor/" for "sensor/*".
  struct Table {
    std::multimap<std::string, std::shared_ptr<Inbox>, std::less<>> topics;
    std::vector<std::pair<std::string, std::shared_ptr<Inbox>>> beginnings;
  };
  void change(const std::string& pattern, const std::shared_ptr<Inbox>& inbox, bool add);

  std::mutex mutex_;  // of those who change it
  std::shared_ptr<const Table> table_ = std::make_shared<Table>();
};

// Whether a topic fits a pattern: itself, or a beginning with "*" behind it.
bool fits(std::string_view pattern, std::string_view topic) noexcept;

}  // namespace portolan
