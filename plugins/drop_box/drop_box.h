// The drop box at run time: one folder, and the sessions that bring files into it.
//
// Made by the descriptor's make, owned by core, on the first worker's thread. Files are written and hashed there, in pieces of
// a millisecond or so; what waits for the disk (fsync, rename) is on the finisher's thread. Writing to a disk that is slower
// than the link can hold the worker up all the same, when the kernel has more to write out than it wants to: a daemon that
// relays on the side has more than one worker.
#pragma once

#include "net/network.h"
#include "plugin/service.h"
#include "transfer/receiver.h"

#include <memory>
#include <string>
#include <vector>

namespace portolan::drop_box {

// The indices of the plugin's counters, in the order of the descriptor.
enum Count : std::size_t { kFiles, kFileBytes, kIdentical, kFilesRefused, kTransfers, kTransfersRefused };

struct Settings {
  std::string folder;
  transfer::ReceiveOptions receive;
  NetworkList allow;  // empty: everybody
  Duration keep_partial{};
  Hook* on_file = nullptr;
};

class Session;

class DropBox final : public Service, private TimerHandler {
 public:
  DropBox(Context& context, Settings settings) : context_(context), settings_(std::move(settings)) {}
  ~DropBox() override;
  // False: with a sentence in `problems`.
  bool start(Problems& problems);

  StreamHandler* open(Stream& stream) noexcept override;

  Context& context() noexcept { return context_; }
  const Settings& settings() const noexcept { return settings_; }
  transfer::ReceiveFolder& folder() noexcept { return *folder_; }
  transfer::Finisher& finisher() noexcept { return *finisher_; }
  void leave(Session& session) noexcept { std::erase(sessions_, &session); }

 private:
  // The finisher is done with something.
  void on_timer() noexcept override;
  void remove_stale() noexcept;

  struct Sweep final : TimerHandler {
    explicit Sweep(DropBox& owner) : box(owner) {}
    void on_timer() noexcept override { box.remove_stale(); }
    DropBox& box;
  };

  Context& context_;
  const Settings settings_;
  std::unique_ptr<transfer::ReceiveFolder> folder_;
  TimerHandle woken_;
  Sweep sweep_{*this};
  TimerHandle sweep_timer_;
  std::unique_ptr<transfer::Finisher> finisher_;  // before the timer that it strikes
  std::vector<Session*> sessions_;
};

// One sender. Deletes itself in on_close.
class Session final : public StreamHandler, private transfer::ReceiverHost, private TimerHandler {
 public:
  Session(DropBox& box, Stream& stream);

  std::size_t on_data(Stream& stream, std::span<const std::byte> data) noexcept override;
  void on_close(Stream& stream, NetError why) noexcept override;
  // The finisher has results.
  void collect() noexcept;

 private:
  void on_timer() noexcept override;
  Verdict on_file(const transfer::FileReport& file) noexcept override;
  void on_result(const transfer::FileReport& file) noexcept override;
  std::size_t take(std::span<const std::byte> data);
  void say();
  void wait(bool for_work);

  DropBox& box_;
  Stream& stream_;
  const std::string peer_;
  transfer::Receiver receiver_;
  TimerHandle timer_;
  std::vector<std::byte> out_;
  std::size_t passed_ = 0;  // bytes at the front of the input that were counted already
  bool admitted_ = false;
  bool paused_ = false;  // by this session, not by a hook
  bool asks_ = false;    // the hook has not answered yet
  bool closed_ = false;
};

}  // namespace portolan::drop_box
