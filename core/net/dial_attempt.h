// Connecting on behalf of a service: where to, and one attempt at it (Context::dial in plugin/service.h).
//
// A target is immutable and belongs to its instance. An attempt belongs to its instance too and goes when its handler was
// called or when it is cancelled; a connection under way is a StreamConnection in its first state. A name's addresses are
// tried in turn; the timeout is for all of it. One worker's thread.
#pragma once

#include "net/address.h"
#include "net/name_cache.h"
#include "net/timeout_queue.h"
#include "net/tls_client.h"
#include "net/tls_session.h"
#include "plugin/service.h"
#include "rudp/options.h"

#include <expected>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

namespace portolan {

class Instance;
class StreamConnection;

class OutboundTarget final : public Target {
 public:
  // Reads files (certificates) but opens nothing else. The error is a sentence without the target.
  // Relative paths belong to `folder`.
  static std::expected<std::unique_ptr<OutboundTarget>, std::string> make(const TargetOptions& options,
                                                                          const std::string& folder);

  std::string_view text() const noexcept override { return text_; }
  Transport transport() const noexcept override { return endpoint_.transport; }

  const Endpoint& endpoint() const noexcept { return endpoint_; }
  const Address& source() const noexcept { return source_; }
  const TlsClientContext* tls() const noexcept { return tls_.get(); }     // of a tls:// target
  const rudp::ConnectionOptions& rudp() const noexcept { return rudp_; }  // of a rudp:// target

 private:
  OutboundTarget() = default;
  std::string text_;
  Endpoint endpoint_;
  Address source_;
  std::shared_ptr<const TlsClientContext> tls_;
  rudp::ConnectionOptions rudp_;
};

class DialAttempt final : public Dial, public TimeoutNode {
 public:
  // What fails at once is told from the loop all the same. Null when out of memory: then nothing is told.
  static Dial* begin(Instance& instance, const OutboundTarget& target, Duration timeout, DialHandler& handler,
                     std::span<const std::byte> preamble) noexcept;
  void cancel() noexcept override;

  // ---- For the connection under way; it forgets the attempt then. ----
  static StreamHandler* succeed(DialAttempt* attempt, Stream& stream) noexcept;
  static void fail(DialAttempt* attempt, NetError why, std::string_view message) noexcept;
  socklen_t socket_address(sockaddr_storage& out) const noexcept;
  // What goes in front of all else.
  std::span<const std::byte> preamble() const noexcept { return preamble_; }
  // Null when out of memory.
  std::unique_ptr<TlsSession> begin_tls(int descriptor) const;
  // It takes longer than the callback that began it: from now on there is a timer for its timeout.
  void wait() noexcept;

 private:
  DialAttempt(Instance& instance, const OutboundTarget& target, Duration timeout, DialHandler& handler,
              std::span<const std::byte> preamble);
  ~DialAttempt();
  void start();
  void resolved(const std::expected<CachedName, ResolveFailure>& result) noexcept;
  void try_addresses(const CachedName& name) noexcept;
  void try_next() noexcept;
  void try_rudp() noexcept;
  void fail_later(NetError why, std::string message) noexcept;
  void timed_out() noexcept;
  void report(NetError why) noexcept;
  void remember(NetError why, std::string_view message);

  Instance& instance_;
  const OutboundTarget& target_;
  DialHandler& handler_;
  const Duration deadline_;
  const std::vector<std::byte> preamble_;
  std::vector<Address> addresses_;  // of a name
  std::size_t next_ = 0;            // of the addresses
  Address address_;                 // that is tried
  StreamConnection* connection_ = nullptr;
  NameHandle lookup_;
  std::optional<LoopTimer> timer_;
  NetError failure_ = NetError::none;
  std::string message_;
};

}  // namespace portolan
