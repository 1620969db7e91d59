// A connection on a stream transport: the socket (or the stream of rudp), what waits in both directions, and the plugin's handler. Either a
// session, accepted from a listener, or outbound, dialed by the service (net/dial_attempt.h).
//
// Deletes itself when it has ended; its instance's queues know it until then. The data path is: read into the
// worker's buffer, let the handler consume it, send its answers at once, and wait for EV_WRITE only after a short
// write. Buffers exist only while bytes wait in them. Two that are joined pass their bytes on without a handler
// (stream_join.cc). One worker's thread.
#pragma once

#include "event/io_event.h"
#include "net/address.h"
#include "net/rudp_stream.h"
#include "net/timeout_queue.h"
#include "net/tls_session.h"
#include "plugin/service.h"

#include <cstdint>
#include <memory>
#include <utility>
#include <vector>

namespace portolan {

class DialAttempt;
class Instance;
class SplicePipe;
class TimeoutQueue;
struct ClientEntry;
struct ProxyHeader;
struct LimitRule;
struct SessionStatus;

class StreamConnection final : public Stream, public TimeoutNode {
 public:
  // Takes over the descriptor, which has passed the limits (`client` is given back at the end).
  static void accept(Instance& instance, int descriptor, const Address& peer, Transport transport,
                     ClientEntry* client) noexcept;
  // The same for a stream of a rudp connection.
  static void accept(Instance& instance, std::unique_ptr<RudpStream> stream, const Address& peer,
                     ClientEntry* client) noexcept;
  // Takes over a descriptor on which connect(2) is under way or done; `attempt` is told how it went, from the loop or
  // when the callback that runs now ends. Null when out of memory.
  static StreamConnection* connect(Instance& instance, int descriptor, const Address& peer, Transport transport,
                                   DialAttempt& attempt) noexcept;
  static StreamConnection* connect(Instance& instance, std::unique_ptr<RudpStream> stream, const Address& peer,
                                   DialAttempt& attempt) noexcept;

  // ---- Stream: what the plugin sees ----
  bool admit(std::size_t bytes) noexcept override;
  bool pass(std::size_t bytes) noexcept override;
  void write(std::span<const std::byte> data) noexcept override;
  std::byte* reserve(std::size_t size) noexcept override;
  void commit(std::size_t used) noexcept override;
  void close() noexcept override;
  void refuse(Refusal reason) noexcept override;
  void end_output() noexcept override;
  void reset() noexcept override;
  void pause() noexcept override;
  void resume() noexcept override;
  void join(Stream& other) noexcept override;
  void separate() noexcept override;
  std::uint64_t bytes_in() const noexcept override { return bytes_in_; }
  std::uint64_t bytes_out() const noexcept override { return bytes_out_; }
  std::size_t unsent() const noexcept override { return output_ ? output_->size() - output_sent_ : 0; }
  bool ended_first() const noexcept override { return ended_first_; }
  NetAddress peer_address() const noexcept override { return peer_.plain(); }
  NetAddress local_address() const noexcept override;
  std::string_view server_name() const noexcept override { return tls_ ? tls_->server_name() : std::string_view(); }
  SessionInfo info() const noexcept override;
  bool answered() const noexcept override { return question_ && !answer_admitted_ && question_->answered(); }
  Question* question() const noexcept override { return question_; }
  void question(Question* asked) noexcept override {
    question_ = asked;
    answer_admitted_ = false;
  }

  // ---- For the instance and the worker ----
  void settle_marked() noexcept;
  void clear_resume() noexcept { resume_at_ = Duration::zero(); }
  void take_up() noexcept;
  // Its timeout struck, or the service drains.
  void time_out(Refusal reason) noexcept;
  void drain_if_quiet(Duration quiet) noexcept;
  // Ends it now, whatever waits. The object is gone afterwards.
  void abort(NetError why) noexcept;
  // Refuses and resets it when its peer is this client: not from inside this call, but when the callback ends.
  void cut_if_of(const Address& client) noexcept {
    if (peer_.client() == client) cut(Refusal::banned, false);
  }
  bool connecting() const noexcept { return attempt_ != nullptr; }
  bool outbound() const noexcept { return outbound_; }
  // Nobody waits for this connection any more.
  void abandon() noexcept;
  SessionStatus status() const;

  // ---- For a pool ----
  // Open in both directions with nothing under way in either: what waits in the socket would be of no exchange.
  bool reusable() const noexcept;
  // Calls a handler outside of the stream's events as if inside of them. Not from a callback of any stream.
  template <typename Callback>
  void in_turn(Callback&& callback) noexcept {
    begin_turn();
    std::forward<Callback>(callback)();
    in_turn_ = false;
    if (flush_turn()) finish_callback();
  }

 private:
  enum class State : std::uint8_t {
    connecting,    // outbound
    proxy_header,  // a proxy's, and nobody's session yet
    handshake,     // TLS
    open,
    closing,    // no more input; ends when the output is sent
    lingering,  // FIN sent; reads and drops until the peer's FIN, so that no reset overtakes the last answer
  };
  enum class Hold : std::uint8_t { none, output, rate, turn };
  enum class Sent : std::uint8_t { all, some, failed };

  // One of the two that carry it: a descriptor, or a stream of rudp.
  struct Carrier {
    int descriptor = -1;
    std::unique_ptr<RudpStream> rudp = nullptr;
  };
  StreamConnection(Instance& instance, Carrier& carrier, const Address& peer, Transport transport, ClientEntry* client,
                   DialAttempt* attempt);
  ~StreamConnection();

  static void on_event(int descriptor, short events, void* self) noexcept;
  void handle(short events) noexcept;
  void advance() noexcept;
  void advance_connect() noexcept;
  void connected() noexcept;
  void fail_connect(NetError why, std::string_view message) noexcept;
  void advance_handshake() noexcept;
  bool open_handler() noexcept;
  // These answer false when the stream has been destroyed.
  bool read_input() noexcept;
  bool deliver(std::span<const std::byte> data, bool buffered) noexcept;
  bool deliver_end() noexcept;
  bool flush_pending() noexcept;
  bool finish_callback() noexcept;

  struct Got {
    std::size_t bytes = 0;
    bool end = false;
    bool again = false;
    bool failed = false;
  };
  Got receive(std::span<std::byte> into) noexcept;
  Got receive_plain(std::span<std::byte> into) noexcept;
  bool want(short events) noexcept;
  short wanted() const noexcept { return rudp_ ? rudp_->wanted() : event_.wanted(); }
  // Its bytes are those of a descriptor.
  bool spliceable() const noexcept { return !tls_ && !rudp_; }
  void count_input(std::size_t bytes) noexcept;
  void count_output(std::size_t bytes) noexcept;
  Sent send_now(std::span<const std::byte> data, std::size_t& taken) noexcept;
  bool flush_turn() noexcept;
  void append(std::span<const std::byte> data);
  void keep_output(std::span<const std::byte> rest);
  void begin_turn() noexcept;
  void end_output_now() noexcept;
  void linger() noexcept;
  void drop_lingering_input() noexcept;
  void update_events() noexcept;
  void schedule_resume(Duration at) noexcept;
  void move_to(TimeoutQueue& queue) noexcept;
  void mark() noexcept;
  void destroy(NetError why) noexcept;
  void cut(Refusal reason, bool blamed) noexcept;
  void refuse(Refusal reason, bool blamed) noexcept;
  void over_limit(const LimitRule& rule) noexcept;
  void record_end(NetError why) noexcept;

  // Behind a proxy (stream_proxy.cc).
  void await_proxy_header() noexcept;
  void read_proxy_header() noexcept;
  void take_over_from_proxy(const ProxyHeader& header);
  void begin_proxied_session() noexcept;
  void refuse_proxy(Refusal reason, std::string_view why) noexcept;

  // Joined (stream_join.cc): these answer false when both streams are gone.
  void handle_joined(short events) noexcept;
  bool pass_on() noexcept;
  bool pass_on_by_splice() noexcept;
  bool pass_end() noexcept;
  bool output_drained() noexcept;
  bool over_byte_rate() noexcept;
  void charge_byte_rate(std::size_t bytes) noexcept;
  bool waits_in_pipe() const noexcept;
  bool blocked() const noexcept;
  bool steady() const noexcept;
  void end_join(NetError why) noexcept;
  void update_both() noexcept;
  void empty_pipe() noexcept;

  Instance& instance_;
  StreamHandler* handler_ = nullptr;
  Question* question_ = nullptr;
  StreamConnection* joined_ = nullptr;
  DialAttempt* attempt_ = nullptr;    // until it has been told
  TimeoutQueue* queue_;               // the one that it is in
  std::unique_ptr<SplicePipe> pipe_;  // what was received and goes to joined_, in bulk
  IoEvent event_;
  std::unique_ptr<TlsSession> tls_;
  std::unique_ptr<RudpStream> rudp_;                // in the descriptor's place
  std::unique_ptr<std::vector<std::byte>> input_;   // received, not consumed
  std::unique_ptr<std::vector<std::byte>> output_;  // written, not taken by the kernel
  mutable std::unique_ptr<std::string> peer_text_;
  std::unique_ptr<const NetAddress> destination_;  // that a PROXY header told
  ClientEntry* client_;
  std::size_t output_sent_ = 0;  // bytes of *output_ that are gone already
  std::uint64_t id_;
  Duration started_;
  Duration last_activity_;
  Duration resume_at_{};  // zero: not scheduled
  std::uint64_t bytes_in_ = 0;
  std::uint64_t bytes_out_ = 0;
  std::uint64_t messages_ = 0;
  NetError failure_ = NetError::none;
  Address peer_;
  int descriptor_;  // -1: rudp_
  Transport transport_;
  State state_;
  Hold hold_ = Hold::none;
  Refusal refusal_{};
  bool refused_ : 1 = false;
  bool in_turn_ : 1 = false;  // inside one of its own callbacks: output is gathered
  bool marked_ : 1 = false;   // in the worker's list
  bool close_asked_ : 1 = false;
  bool peer_ended_ : 1 = false;  // FIN or close_notify has been read
  bool end_delivered_ : 1 = false;
  bool stays_open_ : 1 = false;  // the handler goes on writing after the peer's end
  bool want_write_ : 1 = false;  // TLS asked for it
  bool had_unsent_ : 1 = false;
  bool had_message_ : 1 = false;
  bool counted_ : 1;  // in the statistics of the service
  bool outbound_ : 1;
  bool answer_admitted_ : 1 = false;  // the message that question_ is for has been let in again
  bool paused_ : 1 = false;
  bool self_paced_ : 1 = false;        // it is the plugin that holds back input
  bool ending_ : 1 = false;            // with the one that it was joined to: nothing changes that any more
  bool bulk_ : 1 = false;              // joined: its bytes go by splice
  bool reset_asked_ : 1 = false;       // close with a reset
  bool end_output_asked_ : 1 = false;  // FIN or close_notify after the output
  bool ended_first_ : 1 = false;
  bool output_ended_ : 1 = false;  // sent
};

}  // namespace portolan
