// A whole transfer by `portolan send`: connects, sends, and comes back after a lost connection until all is there.
//
// No progress for `stall` is said, and a new connection is tried; after `give_up` without progress it fails with the last
// reason. What shows progress is the receiver's word (SendState::signs_of_life), not that bytes could be handed to a
// socket. Main thread of a command; runs the loop.
#pragma once

#include "event/loop.h"
#include "net/resolver.h"
#include "transfer/link.h"
#include "transfer/sender.h"

#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace portolan::transfer {

struct SendOptions {
  Place place;
  LinkOptions link;
  Duration stall = std::chrono::seconds(10);
  Duration give_up = std::chrono::minutes(5);
  // The same for a side that has never answered: a mistyped address is not waited for.
  Duration first_answer = std::chrono::seconds(15);
};

struct SendFigures {
  std::uint64_t files = 0;  // of all
  std::uint64_t files_done = 0;
  std::uint64_t bytes = 0;  // of all, without holes
  std::uint64_t bytes_done = 0;
  std::uint64_t new_bytes = 0;  // confirmed by the receiver, in all connections
  std::uint64_t sent = 0;       // handed to connections
  Activity activity = Activity::receiving;
  bool connected = false;
  LinkFigures link;
};

// What a person, or a program, is told.
class SendView : public SenderEvents {
 public:
  virtual void on_progress(const SendFigures& figures) noexcept = 0;  // five times a second
  virtual void on_stall(Duration since) noexcept = 0;
  virtual void on_lost(std::string_view why, Duration retry_in) noexcept = 0;

 protected:
  ~SendView() = default;
};

struct SendOutcome {
  bool complete = false;     // every entry is settled, whatever its result
  bool not_found = false;    // the host has no such name
  bool no_answer = false;    // nobody ever answered
  std::uint64_t failed = 0;  // entries that were refused or failed
  std::string why;           // not complete
  SendFigures figures;
};

class SendRun final : private LinkHandler {
 public:
  SendRun(SourceTree& tree, const SendOptions& options, SendView& view);
  ~SendRun();
  SendOutcome run();

 private:
  void connect();
  void dial_next();
  void pump();
  void tick();
  void lost(std::string_view why, bool final);
  void end(std::string why);
  void drop_link();
  SendFigures figures() const;
  Duration patience() const noexcept { return ever_answered_ ? options_.give_up : options_.first_answer; }

  void on_open() noexcept override;
  void on_input() noexcept override;
  void on_room() noexcept override;
  void on_closed(const LinkClosed& how) noexcept override;

  SourceTree& tree_;
  const SendOptions options_;
  SendView& view_;
  Loop loop_;
  TransferId transfer_{};
  std::optional<Resolver> resolver_;
  ResolveHandle lookup_;
  std::vector<Address> addresses_;
  std::size_t next_address_ = 0;
  std::unique_ptr<Link> link_;
  std::vector<std::unique_ptr<Link>> gone_;  // to be destroyed outside of their calls
  std::unique_ptr<Sender> sender_;
  std::vector<std::byte> out_;
  std::size_t out_used_ = 0;
  LoopTimer tick_, pump_soon_, retry_;
  Duration last_progress_ = Loop::now();
  Duration last_said_{};
  std::uint64_t signs_seen_ = 0;
  int attempts_ = 0;
  bool connected_ = false;
  bool ever_answered_ = false;
  bool ended_ = false;
  SendFigures past_;                  // of the connections before this one
  std::uint64_t settled_before_ = 0;  // bytes of files that had their result before this one
  SendOutcome outcome_;
};

}  // namespace portolan::transfer
