// Addresses of names, asynchronously: numbers at once, then /etc/hosts, then DNS, over c-ares and never through the
// C library, whose getaddrinfo loads modules of the machine (nsswitch.conf) and blocks. That line is not obeyed here:
// a name known to mDNS or to a directory only is not found.
//
// One for each thread that resolves; it, its handles and its callbacks belong to the thread of the loop. The resolver
// goes before the loop. A handle may outlive the resolver: it then does nothing.
//
// A callback is called exactly once, from the loop and never from inside resolve(); not at all after its handle was
// cancelled or destroyed, or after the resolver was. It may do anything, also destroy the resolver. It does not throw.
//
// Nothing is kept: every resolve() of a name asks. TTLs are told so that a cache can stand in front.
#pragma once

#include "net/dns_channel.h"

#include <cstdint>
#include <expected>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace portolan {

struct ResolverOptions {
  Duration timeout = std::chrono::seconds(2);    // for a server's first answer; doubled with each try
  int tries = 3;                                 // with each server
  Duration deadline = std::chrono::seconds(10);  // for the whole of a lookup, all servers and tries
  std::vector<Address> servers = {};             // to ask, port 0 is 53; none: those of resolv_conf
  // Where servers and the search list are. Read again when it has changed; without it, 127.0.0.1 is asked.
  std::string resolv_conf = "/etc/resolv.conf";
  // Lookups by DNS at the same time, also cancelled ones until c-ares has let go of them; more are refused with
  // NetError::system.
  std::size_t max_lookups = 256;
};

enum class AddressFamily : std::uint8_t { any, v4, v6 };

struct Resolution {
  // Never empty; no address twice. IPv6 first, and within a family in the server's order: whoever dials tries the next
  // when one is unreachable, which a machine without IPv6 says at once.
  std::vector<ResolvedAddress> addresses;
};

struct ResolveFailure {
  NetError error = NetError::none;  // as DnsAnswer says
  std::string message;              // without the name: "name not found (asked 192.168.1.1)"
};

using ResolveResult = std::expected<Resolution, ResolveFailure>;
using ResolveCallback = std::function<void(ResolveResult)>;

// Holds a lookup; letting go of it cancels.
class [[nodiscard]] ResolveHandle {
 public:
  struct Lookup;
  ResolveHandle() = default;
  explicit ResolveHandle(std::shared_ptr<Lookup> lookup) noexcept : lookup_(std::move(lookup)) {}
  ~ResolveHandle() { cancel(); }
  ResolveHandle(ResolveHandle&&) noexcept = default;
  ResolveHandle& operator=(ResolveHandle&& other) noexcept;
  void cancel() noexcept;
  bool pending() const noexcept;  // the callback may still come

 private:
  std::shared_ptr<Lookup> lookup_;
};

class Resolver {
 public:
  explicit Resolver(Loop& loop, ResolverOptions options = {});  // throws std::runtime_error when c-ares cannot start
  ~Resolver();
  Resolver(const Resolver&) = delete;
  Resolver& operator=(const Resolver&) = delete;

  // `name` is a host name or a numeric address, without a port ("nas.lan", "192.0.2.1", "fe80::1%eth0"). When both
  // families are asked and one has answered, the other gets `timeout` more; what is there by then is the answer.
  ResolveHandle resolve(std::string_view name, AddressFamily family, ResolveCallback callback);

  // Who is asked: "192.168.1.1, [fd00::1]:5353".
  const std::string& servers() const noexcept;
  std::size_t under_way() const noexcept;  // lookups that max_lookups counts

  struct State;

 private:
  std::shared_ptr<State> state_;
};

}  // namespace portolan
