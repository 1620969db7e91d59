// The sessions of `portolan console`: takes their lines to the worker that they evaluate on, and what comes of it back to them.
//
// Owned by the daemon; the main thread. A session lasts as long as its connection. After a reload its next line is evaluated by
// the new generation, with an environment that is new as well. Refused: more sessions and evaluations at a time than there may
// be, a line before the last one is answered, one of a client that does not read, and all where the configuration says no.
#pragma once

#include "admin/console.h"
#include "app/ask_workers.h"
#include "app/generation.h"
#include "app/worker_console.h"
#include "store/store_access.h"

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>

namespace portolan {

class ConsoleDesk final : public ConsoleHost {
 public:
  static constexpr std::size_t kMostSessions = 16;
  static constexpr std::size_t kMostEvaluations = 4;     // at a time, over all sessions
  static constexpr std::size_t kMostUnsent = 4U << 20U;  // of one session

  // `serving` answers the generation that serves, null while there is none. All outlive it.
  ConsoleDesk(const Workers& workers, std::shared_ptr<Mailbox> mailbox, std::function<const Generation*()> serving)
      : workers_(workers), mailbox_(std::move(mailbox)), serving_(std::move(serving)) {}
  // Before the first session.
  void use(Recorder& recorder, StoreAccess& store) noexcept {
    recorder_ = &recorder;
    store_ = &store;
  }
  // The daemon stops: every session is told, and over.
  void end(std::string_view reason);

  // ---- ConsoleHost ----
  std::expected<std::uint64_t, ConsoleRefusal> open(ConsoleWish wish) override;
  void begin(std::uint64_t session, std::unique_ptr<ConsoleOutput> output) override;
  void close(std::uint64_t session) override;
  Done line(std::uint64_t session, std::string text, Duration time_limit) override;
  Done sql(std::uint64_t session, std::string text, Duration time_limit) override;
  Done cancel(std::uint64_t session) override;
  Done complete(std::uint64_t session, std::string path,
                std::function<void(std::vector<std::string> words)> done) override;

 private:
  struct Session {
    ConsoleWish wish;
    std::unique_ptr<ConsoleOutput> output;
    std::uint64_t generation = 0;          // that its latest line went to
    bool busy = false;                     // with a line, or a question
    StoreAccess::QuestionId question = 0;  // which; 0: none
  };
  // The session, ready for another line; or why not.
  std::expected<Session*, ConsoleRefusal> ready(std::uint64_t id);
  std::expected<WorkerConsole::Place, ConsoleRefusal> place_of(std::uint64_t id, const Session& session);
  void tell(std::uint64_t id, ConsoleEvent event, const std::string& text);
  void answer(std::uint64_t id, const std::expected<StoreAnswer, std::string>& answer);
  void at_worker(const Session& session, std::function<void(WorkerConsole& console)> task,
                 std::function<void()> none = nullptr) const;

  const Workers& workers_;
  const std::shared_ptr<Mailbox> mailbox_;
  const std::function<const Generation*()> serving_;
  Recorder* recorder_ = nullptr;
  StoreAccess* store_ = nullptr;
  std::map<std::uint64_t, Session> sessions_;
  std::uint64_t last_ = 0;
};

}  // namespace portolan
