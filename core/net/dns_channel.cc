#include "net/dns_channel.h"

#include "base/clock.h"

#include <ares.h>
#include <arpa/inet.h>
#include <fmt/format.h>
#include <netdb.h>
#include <sys/random.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <new>
#include <stdexcept>

namespace portolan {

namespace {

constexpr std::uint16_t kDnsPort = 53;

// c-ares takes the secret of its query ids from /dev/urandom, and without one (a chroot, an early boot) from rand(),
// which nobody has seeded: the ids would be the same in every run, and answers easy to forge.
void seed_ids_without_device() noexcept {
  if (::access("/dev/urandom", R_OK) == 0) return;
  unsigned seed = 0;
  if (::getrandom(&seed, sizeof seed, 0) == sizeof seed) std::srand(seed);
}

void initialize_library() {
  static const int status = [] {
    seed_ids_without_device();
    return ares_library_init(ARES_LIB_INIT_ALL);  // never undone: it lasts as long as the process
  }();
  if (status != ARES_SUCCESS) {
    throw std::runtime_error(fmt::format("cannot initialize c-ares: {}", ares_strerror(status)));
  }
}

DnsAnswer failure(int status) noexcept {
  switch (status) {
    case ARES_ENOTFOUND: return {NetError::name_not_found, "name not found"};
    case ARES_ENODATA: return {NetError::name_not_found, "the name has no such address", true};
    case ARES_EBADNAME: return {NetError::name_not_found, "not a name that DNS can hold"};
    case ARES_ETIMEOUT: return {NetError::timed_out, "timed out"};
    // c-ares 1.18 says so for SERVFAIL, REFUSED and NOTIMP, too, after it has tried the others.
    case ARES_ECONNREFUSED: return {NetError::refused, "every server refused or failed"};
    case ARES_EREFUSED: return {NetError::refused, "the server refuses the question (REFUSED)"};
    case ARES_ESERVFAIL: return {NetError::refused, "the server failed (SERVFAIL)"};
    case ARES_ENOTIMP: return {NetError::refused, "the server does not know such questions (NOTIMP)"};
    case ARES_EFORMERR: return {NetError::protocol, "the server does not understand the question (FORMERR)"};
    case ARES_EBADRESP: return {NetError::protocol, "the server's answer cannot be understood"};
    case ARES_ENOMEM: return {NetError::system, "out of memory"};
    default: return {NetError::system, ares_strerror(status)};
  }
}

// RFC 2181 section 8: a TTL with the highest bit set is zero.
std::chrono::seconds ttl_of(const ares_addrinfo& found, const ares_addrinfo_node& node) noexcept {
  int ttl = node.ai_ttl;
  // An alias on the way may live shorter than what it leads to.
  for (const ares_addrinfo_cname* alias = found.cnames; alias; alias = alias->next) ttl = std::min(ttl, alias->ttl);
  return std::chrono::seconds(std::max(ttl, 0));
}

}  // namespace

struct DnsChannel::Question {
  DnsChannel& channel;
  Handler handler;
  void* argument;

  // ares_addrinfo_callback. Called from inside c-ares, also from ares_getaddrinfo and ares_destroy.
  static void answered(void* self, int status, int /*timeouts*/, ares_addrinfo* found) noexcept {
    const std::unique_ptr<Question> question(static_cast<Question*>(self));
    DnsAnswer answer;
    if (status == ARES_SUCCESS && found) {
      try {
        for (const ares_addrinfo_node* node = found->nodes; node; node = node->ai_next) {
          const Address address = Address::from(node->ai_addr);
          if (!address.empty()) answer.addresses.push_back({address, ttl_of(*found, *node)});
        }
        if (answer.addresses.empty()) answer = failure(ARES_ENODATA);
      } catch (const std::bad_alloc&) {
        answer = failure(ARES_ENOMEM);
      }
    } else {
      answer = failure(status);
    }
    if (found) ares_freeaddrinfo(found);
    --question->channel.under_way_;
    if (!question->channel.closing_) question->handler(question->argument, std::move(answer));
  }
};

DnsChannel::DnsChannel(Loop& loop, const Options& options)
    : loop_(loop), timer_(loop, [this] { process(ARES_SOCKET_BAD, ARES_SOCKET_BAD); }) {
  initialize_library();
  ares_options wanted{};
  // Without NOALIASES the file in $HOSTALIASES would be read with every question.
  wanted.flags = ARES_FLAG_NOALIASES;
  wanted.timeout = static_cast<int>(std::clamp<std::int64_t>(to_ms(options.timeout), 1, 60'000));
  wanted.tries = std::max(options.tries, 1);
  // DNS alone, said here so that the "hosts:" line of nsswitch.conf is neither read nor obeyed: it speaks of modules of
  // glibc. Resolver looks into the file of hosts itself.
  char lookups[] = "b";
  wanted.lookups = lookups;
  std::string resolv_conf = options.resolv_conf;
  wanted.resolvconf_path = resolv_conf.data();
  wanted.sock_state_cb = [](void* self, ares_socket_t descriptor, int readable, int writable) noexcept {
    static_cast<DnsChannel*>(self)->on_socket(descriptor, readable != 0, writable != 0);
  };
  wanted.sock_state_cb_data = this;
  const int status = ares_init_options(&channel_, &wanted,
                                       ARES_OPT_FLAGS | ARES_OPT_TIMEOUTMS | ARES_OPT_TRIES | ARES_OPT_LOOKUPS |
                                           ARES_OPT_RESOLVCONF | ARES_OPT_SOCK_STATE_CB);
  if (status != ARES_SUCCESS) {
    throw std::runtime_error(fmt::format("cannot set up DNS by {}: {}", resolv_conf, ares_strerror(status)));
  }
  if (!options.servers.empty()) {
    std::string list;
    for (const Address& server : options.servers) {
      Address with_port = server;
      if (server.port() == 0) with_port.set_port(kDnsPort);
      list += list.empty() ? "" : ",";
      list += with_port.to_string();
    }
    const int set = ares_set_servers_ports_csv(channel_, list.c_str());
    if (set != ARES_SUCCESS) {
      ares_destroy(channel_);  // the destructor of what was not constructed is not called
      throw std::runtime_error(fmt::format("cannot use the DNS servers {}: {}", list, ares_strerror(set)));
    }
  }
  read_servers();
}

DnsChannel::~DnsChannel() {
  closing_ = true;
  ares_destroy(channel_);  // answers every question that is left, and closes the sockets
}

void DnsChannel::read_servers() {
  ares_addr_port_node* list = nullptr;
  if (ares_get_servers_ports(channel_, &list) != ARES_SUCCESS) return;
  for (const ares_addr_port_node* server = list; server; server = server->next) {
    char text[INET6_ADDRSTRLEN] = "";
    ::inet_ntop(server->family, &server->addr, text, sizeof text);
    servers_ += servers_.empty() ? "" : ", ";
    const int port = server->udp_port;
    if (port == 0 || port == kDnsPort) {
      servers_ += text;
    } else {
      servers_ += fmt::format(fmt::runtime(server->family == AF_INET6 ? "[{}]:{}" : "{}:{}"), text, port);
    }
  }
  ares_free_data(list);
}

void DnsChannel::ask(const std::string& name, int family, Handler handler, void* argument) noexcept {
  auto* question = new (std::nothrow) Question{*this, handler, argument};
  if (!question) return handler(argument, failure(ARES_ENOMEM));
  ++under_way_;
  ares_addrinfo_hints hints{};
  hints.ai_family = family;
  // Unsorted: c-ares sorts by opening and connecting a socket for each address, and RFC 6724's rule 9 would undo a
  // server's round robin.
  hints.ai_flags = ARES_AI_NOSORT;
  ares_getaddrinfo(channel_, name.c_str(), nullptr, &hints, &Question::answered, question);
  set_timer();
}

Address DnsChannel::look_in_hosts(const std::string& name, int family) const noexcept {
  hostent* found = nullptr;
  if (ares_gethostbyname_file(channel_, name.c_str(), family, &found) != ARES_SUCCESS || !found) return {};
  Address address;
  if (found->h_addr_list && found->h_addr_list[0] && found->h_addrtype == family) {
    if (family == AF_INET) {
      sockaddr_in v4{};
      v4.sin_family = AF_INET;
      std::memcpy(&v4.sin_addr, found->h_addr_list[0], sizeof v4.sin_addr);
      address = Address::from(reinterpret_cast<const sockaddr*>(&v4));
    } else {
      sockaddr_in6 v6{};
      v6.sin6_family = AF_INET6;
      std::memcpy(&v6.sin6_addr, found->h_addr_list[0], sizeof v6.sin6_addr);
      address = Address::from(reinterpret_cast<const sockaddr*>(&v6));
    }
  }
  ares_free_hostent(found);
  return address;
}

void DnsChannel::process(int readable, int writable) noexcept {
  ares_process_fd(channel_, readable, writable);
  set_timer();
}

void DnsChannel::set_timer() noexcept {
  timeval left{};
  if (ares_timeout(channel_, nullptr, &left)) {
    timer_.start(std::chrono::seconds(left.tv_sec) + std::chrono::microseconds(left.tv_usec));
  } else {
    timer_.stop();
  }
}

// Called from inside c-ares. A socket that cannot be watched is one that never answers: the question times out.
void DnsChannel::on_socket(int descriptor, bool readable, bool writable) noexcept {
  if (!readable && !writable) {
    sockets_.erase(descriptor);
    return;
  }
  try {
    std::unique_ptr<IoEvent>& event = sockets_[descriptor];
    if (!event) {
      event = std::make_unique<IoEvent>();
      event->bind(
          loop_, descriptor,
          [](int ready, short events, void* self) noexcept {
            static_cast<DnsChannel*>(self)->process(events & IoEvent::kRead ? ready : ARES_SOCKET_BAD,
                                                    events & IoEvent::kWrite ? ready : ARES_SOCKET_BAD);
          },
          this);
    }
    event->want(static_cast<short>((readable ? IoEvent::kRead : 0) | (writable ? IoEvent::kWrite : 0)));
  } catch (const std::bad_alloc&) {
    sockets_.erase(descriptor);
  }
}

}  // namespace portolan
