// Questions to DNS servers over c-ares: one of its channels on a Loop. The only file that names c-ares, and together
// with Resolver (resolver.h), which is what the rest of the program uses, the only way in which a name is looked up:
// getaddrinfo of a statically linked glibc loads modules of the machine that it happens to run on.
//
// Belongs to the thread of its loop, as all that c-ares keeps for it. Channels of different threads share nothing but
// ares_library_init, which is called once and under a lock. No exception leaves a callback of c-ares.
//
// A handler is called from inside c-ares, perhaps from inside ask() itself: it keeps the answer and leaves the channel
// alone. Resolver is what hands answers out from the loop.
#pragma once

#include "event/io_event.h"
#include "event/loop.h"
#include "net/address.h"
#include "plugin/service.h"

#include <chrono>
#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

struct ares_channeldata;

namespace portolan {

struct ResolvedAddress {
  Address address;           // port 0
  std::chrono::seconds ttl;  // how long it may be kept; 0: for this use only
  friend bool operator==(const ResolvedAddress&, const ResolvedAddress&) = default;
};

// What came of one question. The taxonomy's word for each failure, and what happened in words of DNS:
//   name_not_found  the name does not exist (NXDOMAIN), or has no address of this family
//   refused         every server refused (REFUSED), failed (SERVFAIL, NOTIMP), or does not listen
//   timed_out       no server has answered in time
//   protocol        what the server sent cannot be understood
//   system          no memory, no descriptor
struct DnsAnswer {
  NetError error = NetError::none;
  const char* what = "";     // "every server refused or failed"; static
  bool name_exists = false;  // with name_not_found: the name is there, but has no address of the family
  std::vector<ResolvedAddress> addresses;
};

class DnsChannel {
 public:
  struct Options {
    Duration timeout;              // for the first try with each server; doubled with each further round
    int tries;                     // rounds over all servers
    std::vector<Address> servers;  // with their ports, 0 is 53; empty: those of resolv_conf
    std::string resolv_conf;
  };
  using Handler = void (*)(void* argument, DnsAnswer answer) noexcept;

  DnsChannel(Loop& loop, const Options& options);  // throws std::runtime_error
  ~DnsChannel();                                   // outstanding questions are forgotten, their handlers not called
  DnsChannel(const DnsChannel&) = delete;
  DnsChannel& operator=(const DnsChannel&) = delete;

  // Asks for the addresses of one family (AF_INET, AF_INET6), with the search list of resolv.conf. The handler is
  // called exactly once, or never when the channel goes first. A single question cannot be taken back: c-ares cannot.
  void ask(const std::string& name, int family, Handler handler, void* argument) noexcept;
  std::size_t under_way() const noexcept { return under_way_; }
  // "192.168.1.1, [fd00::1]:5353"
  const std::string& servers() const noexcept { return servers_; }

  // The address of this family that /etc/hosts has for the name, without asking anybody; empty when it has none.
  Address look_in_hosts(const std::string& name, int family) const noexcept;

 private:
  struct Question;
  void process(int readable, int writable) noexcept;
  void set_timer() noexcept;
  void on_socket(int descriptor, bool readable, bool writable) noexcept;
  void read_servers();

  Loop& loop_;
  ares_channeldata* channel_ = nullptr;
  std::string servers_;
  std::map<int, std::unique_ptr<IoEvent>> sockets_;
  LoopTimer timer_;  // when c-ares wants to try again, or to give up
  std::size_t under_way_ = 0;
  bool closing_ = false;
};

}  // namespace portolan
