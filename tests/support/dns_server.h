// A DNS server for tests, over UDP and TCP on one port of loopback: answers what it was told to, or misbehaves.
//
// Owned by the test; answers in a thread of its own, which the constructor starts and the destructor ends. What it
// knows may be changed at any time, from any thread. A name that it was not told about does not exist (NXDOMAIN).
#pragma once

#include "support/waiting.h"

#include <cstdint>
#include <map>
#include <mutex>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include <netinet/in.h>

namespace portolan::testing {

// What kind of question, by its type in RFC 1035.
enum class DnsType : std::uint16_t { any = 0, a = 1, cname = 5, aaaa = 28 };

enum class DnsBehaviour : std::uint8_t {
  answer,
  server_failure,  // SERVFAIL
  refuse,          // REFUSED
  silence,
  garbage,   // something that is no answer, after the id that was asked with
  wrong_id,  // the right answer to a question that nobody asked: a forger's
  truncate,  // over UDP an answer without records and with TC set; over TCP the real one
};

class DnsServer {
 public:
  // Port 0: one that is free. Throws std::runtime_error.
  explicit DnsServer(const std::string& address = "127.0.0.1", std::uint16_t port = 0);
  ~DnsServer();
  DnsServer(const DnsServer&) = delete;
  DnsServer& operator=(const DnsServer&) = delete;

  void add(const std::string& name, const std::string& address, std::uint32_t ttl = 300);  // IPv4 or IPv6
  void add_alias(const std::string& name, const std::string& target, std::uint32_t ttl = 300);
  void remove(const std::string& name);  // it does not exist any more
  // For questions of this type about the name; for all types with DnsType::any.
  void behave(const std::string& name, DnsType type, DnsBehaviour behaviour);
  void delay(const std::string& name, Milliseconds time);

  std::uint16_t port() const noexcept { return port_; }
  std::string where() const;  // "127.0.0.1:4711"
  // In the order in which they came: "udp A nas.lan".
  std::vector<std::string> questions() const;

 private:
  struct Record {
    DnsType type;
    std::string data;  // as it goes over the wire
    std::uint32_t ttl;
  };
  struct Reply {
    Clock::time_point due;
    std::string message;
    int connection = -1;    // over TCP
    sockaddr_in peer = {};  // over UDP
  };

  void serve();
  void receive_datagram();
  bool receive_from(int connection);  // false: it has ended
  void take(std::string_view message, bool over_tcp, int connection, const sockaddr_in& peer);
  int send_what_is_due();  // milliseconds until the next; -1: nothing waits
  std::string answer_to(std::string_view message, bool over_tcp, Milliseconds& after);
  std::string records_of(const std::string& name, DnsType type, int& count) const;

  const std::string address_;
  std::uint16_t port_ = 0;
  int udp_ = -1, listening_ = -1, stop_ = -1;
  std::map<int, std::string> connections_;  // what has come of a message. The thread's
  std::vector<Reply> replies_;              // the thread's
  mutable std::mutex mutex_;                // for what follows
  std::multimap<std::string, Record> records_;
  std::map<std::pair<std::string, DnsType>, DnsBehaviour> behaviours_;
  std::map<std::string, Milliseconds> delays_;
  std::vector<std::string> questions_;
  std::thread thread_;
};

}  // namespace portolan::testing
