// A client's stream and the backend's that it is relayed to, from the accepted connection to the end of both.
//
// It waits while all backends are full, dials, tries others, and then has core join the two streams, which costs nothing
// more here. With faults the bytes go through a FaultyPath instead. Deletes itself when both streams have closed. Its
// service's thread.
#pragma once

#include "plugin/service.h"
#include "plugins/relay/backend_set.h"
#include "plugins/relay/wait_queue.h"

#include <memory>
#include <string_view>
#include <vector>

namespace portolan::relay {

class FaultyPath;
class RelayService;

class StreamSession final : public StreamHandler, private DialHandler, private TimerHandler {
 public:
  StreamSession(RelayService& service, Stream& client) noexcept;
  ~StreamSession();

  // Whose turn in the queue it is.
  static StreamSession& of(WaitNode& node) noexcept { return static_cast<Attempts&>(node).session; }

  // Begins: chooses a backend, or waits for one. The client may be refused when it returns.
  void start() noexcept;
  // The front of the queue may have a place now. True: it has one, or has given up, and has left the queue.
  bool try_queued() noexcept;
  void queue_timed_out() noexcept;
  // The service's faults have changed.
  void faults_changed() noexcept;
  // Looks whether the backend has answered meanwhile: core passes bytes on without a word. False: nothing to look for.
  bool look() noexcept;

  std::size_t on_data(Stream& stream, std::span<const std::byte> data) noexcept override;
  bool on_end(Stream& stream, std::span<const std::byte> rest) noexcept override;
  void on_sent(Stream& stream) noexcept override;
  void on_close(Stream& stream, NetError why) noexcept override;

  StreamSession* previous_session = nullptr;
  StreamSession* next_session = nullptr;

 private:
  StreamHandler* on_dial(Stream& stream) noexcept override;
  void on_dial_failed(NetError why, std::string_view message) noexcept override;
  void on_timer() noexcept override;  // the pause before another attempt is over

  void attempt() noexcept;
  void dial(Place place) noexcept;
  void wait_for_place() noexcept;
  void give_up(std::string_view why) noexcept;
  void connect_streams() noexcept;
  void leave_queue() noexcept;
  void judge_backend(NetError why) noexcept;

  // Before the streams are joined; gone afterwards, so that a pair does not carry it.
  struct Attempts : WaitNode {
    explicit Attempts(StreamSession& owner) noexcept : session(owner) {}
    StreamSession& session;
    std::vector<const Backend*> tried;
    TimerHandle pause;
    Duration began{};
    Duration dialed_at{};
    std::uint32_t made = 0;
  };

  RelayService& service_;
  Stream* client_;
  Stream* backend_ = nullptr;
  Place place_;
  DialHandle dial_;
  std::unique_ptr<Attempts> attempts_;
  std::unique_ptr<FaultyPath> faulty_;
  bool answered_ = false;  // or judged otherwise
};

}  // namespace portolan::relay
