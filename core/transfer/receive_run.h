// What `portolan receive` does: listens, and takes what comes into one folder, from several senders at once.
//
// Main thread of a command; runs the loop until it is told to stop, or, with `once`, until one transfer is complete. A
// connection that is lost takes nothing with it: its sender comes back and goes on.
#pragma once

#include "event/loop.h"
#include "net/network.h"
#include "transfer/link.h"
#include "transfer/receiver.h"

#include <memory>
#include <string>
#include <vector>

namespace portolan::transfer {

struct ReceiveRunOptions {
  std::vector<Place> listen;
  LinkOptions link;
  std::string folder;
  ReceiveOptions receive;
  NetworkList allow;  // empty: everybody
  bool once = false;
  std::size_t max_sessions = 64;
};

// What a person, or a program, is told.
class ReceiveView {
 public:
  virtual void on_listening(const Place& place) noexcept = 0;
  virtual void on_turned_away(const Address& peer) noexcept = 0;  // not among `allow`
  virtual void on_begin(const std::string& peer, std::uint64_t files, std::uint64_t bytes) noexcept = 0;
  virtual void on_result(const std::string& peer, const FileReport& file) noexcept = 0;
  // Five times a second while something comes.
  virtual void on_progress(std::uint64_t new_bytes, Activity activity, std::size_t sessions) noexcept = 0;
  virtual void on_end(const std::string& peer, std::uint64_t received, std::uint64_t not_received,
                      std::uint64_t new_bytes) noexcept = 0;
  virtual void on_lost(const std::string& peer, std::string_view why) noexcept = 0;

 protected:
  ~ReceiveView() = default;
};

class ReceiveRun final : private LinkAcceptor {
 public:
  ReceiveRun(const ReceiveRunOptions& options, ReceiveView& view);
  ~ReceiveRun();
  struct Outcome {
    std::string error = {};  // it could not begin
    bool complete = false;   // of `once`: all that was offered is there
  };
  Outcome run();

 private:
  class Session;
  bool admits(const Address& peer) noexcept override;
  void on_link(std::unique_ptr<Link> link) noexcept override;
  void tick();
  void sweep();
  std::string begin();

  const ReceiveRunOptions options_;
  ReceiveView& view_;
  Loop loop_;
  Mailbox mailbox_{loop_};
  std::unique_ptr<ReceiveFolder> folder_;
  std::unique_ptr<Finisher> finisher_;
  std::vector<std::unique_ptr<LinkListener>> listeners_;
  std::vector<std::unique_ptr<Session>> sessions_;
  LoopTimer tick_, sweep_;
  Outcome outcome_;
  std::uint64_t past_bytes_ = 0;  // of sessions that have ended
  bool once_done_ = false;
  bool ended_ = false;
};

}  // namespace portolan::transfer
