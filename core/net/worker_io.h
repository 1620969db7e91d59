// What all sessions of one worker share: the clock, the buffers that are only needed during a callback, and the
// lists of streams that want attention at its end. One worker's thread.
#pragma once

#include "event/loop.h"
#include "net/datagram_batch.h"
#include "net/name_cache.h"
#include "net/splice_pipe.h"
#include "store/store_access.h"

#include <cstddef>
#include <functional>
#include <memory>
#include <set>
#include <span>
#include <utility>
#include <vector>

namespace portolan {

class RudpDialer;
class ScriptBus;
class StreamConnection;

// One callback of one stream's handler: what it reads, what it has written so far.
struct Turn {
  std::span<const std::byte> input;  // stable until the callback's output is sent
  std::span<const std::byte> view;   // output that is a run of the input, sent from there
  std::vector<std::byte> output;     // or else output that was copied or built here
  std::size_t reserved_at = 0;
  Duration hook_time{};  // spent by this worker when the turn began
  Duration resume_at{};  // with a hold for the rate
  std::uint32_t messages = 0;
  bool ending = false;  // in on_end: nothing can be put off any more

  std::size_t size() const noexcept { return view.size() + output.size(); }
};

class WorkerIo {
 public:
  static constexpr std::size_t kReadSize = 64 * 1024;
  // How long one stream's messages may be handled before the others get their turn.
  static constexpr Duration kTurn = std::chrono::milliseconds(2);

  // `mailbox` is that of the loop; null in tests that have one thread.
  WorkerIo(Loop& loop, unsigned worker, Mailbox* mailbox = nullptr);
  ~WorkerIo();

  Loop& loop() noexcept { return loop_; }
  unsigned worker() const noexcept { return worker_; }
  std::uint64_t next_session_id() noexcept { return (std::uint64_t{worker_} << 40U) | ++last_session_; }

  // The monotonic clock as of the start of the current callback.
  Duration now() const noexcept { return now_; }
  Duration tick() noexcept { return now_ = Loop::now(); }

  std::byte* read_buffer() noexcept { return read_buffer_.get(); }
  Turn& turn() noexcept { return turn_; }
  PipePool& pipes() noexcept { return pipes_; }
  DatagramBatch& datagrams() noexcept { return datagrams_; }
  // Between the scripts of all workers; one's own where there is no other.
  void set_bus(std::shared_ptr<ScriptBus> bus) noexcept { bus_ = std::move(bus); }
  ScriptBus& bus();
  // no_store() where nothing was set. It answers on threads of its own, which post.
  void set_store(StoreAccess& store) noexcept { store_ = &store; }
  StoreAccess& store() noexcept { return *store_; }
  NameCache& names();  // made when it is first wanted; throws when it cannot be
  RudpDialer& rudp();  // likewise

  // What a stream keeps its unsent output in. Empty, and used again: whoever writes to many streams at once would allocate
  // and free as many times otherwise.
  std::unique_ptr<std::vector<std::byte>> take_buffer();
  void give_back(std::unique_ptr<std::vector<std::byte>> buffer) noexcept;

  // The stream was written to, closed or refused outside of its own callback: settle it when this callback ends.
  void mark(StreamConnection& stream) { marked_.push_back(&stream); }
  void unmark(StreamConnection& stream) noexcept { std::erase(marked_, &stream); }
  // To be called at the end of every callback that ran code of a plugin.
  void settle() noexcept;

  // Gives the stream back its unconsumed input at this time.
  void resume_at(Duration time, StreamConnection& stream);
  void cancel_resume(Duration time, StreamConnection& stream) noexcept { resumes_.erase({time, &stream}); }

  // Called when the last session of an instance that is done has ended, after the callback.
  void retire_later(std::function<void()> task);
  // From any thread: calls `task` on the worker's.
  void post(std::function<void()> task);
  // Does it now; for an end without a loop.
  void run_retired();

 private:
  void arm();
  void run_resumes();

  Loop& loop_;
  unsigned worker_;
  Mailbox* mailbox_;
  std::uint64_t last_session_ = 0;
  Duration now_ = Loop::now();
  std::unique_ptr<std::byte[]> read_buffer_;
  Turn turn_;
  PipePool pipes_;
  DatagramBatch datagrams_{loop_};
  std::shared_ptr<ScriptBus> bus_;
  StoreAccess* store_ = &no_store();
  std::unique_ptr<Resolver> resolver_;
  std::unique_ptr<NameCache> names_;
  std::unique_ptr<RudpDialer> rudp_;
  std::vector<std::unique_ptr<std::vector<std::byte>>> spare_buffers_;
  std::vector<StreamConnection*> marked_;
  std::set<std::pair<Duration, StreamConnection*>> resumes_;
  LoopTimer resume_timer_;
  std::vector<std::function<void()>> retired_;
  LoopTimer retire_timer_;
};

}  // namespace portolan
