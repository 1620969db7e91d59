// The list of benches, in the order in which `all` runs them.
#pragma once

#include <span>
#include <string_view>
#include <vector>

#include "options.h"
#include "table.h"

namespace portolan::bench {

struct Bench {
  std::string_view name;
  std::string_view summary;
  std::vector<Table> (*run)(const Options& options);
  bool in_all = true;  // not what takes an hour, and root
};

std::span<const Bench> benches();
// A name on the command line is a bench's own, that of a group (`relay` of `relay-bulk`), or `all` of those in_all.
bool is_of(const Bench& bench, std::string_view name);

// bench_traffic.cc: Portolan beside a floor and Go
std::vector<Table> bench_echo(const Options& options);
std::vector<Table> bench_binary(const Options& options);
std::vector<Table> bench_udp(const Options& options);
std::vector<Table> bench_connect(const Options& options);
// bench_portolan.cc: what Portolan's own parts cost
std::vector<Table> bench_memory(const Options& options);
std::vector<Table> bench_stats(const Options& options);
std::vector<Table> bench_start(const Options& options);
std::vector<Table> bench_hook(const Options& options);
// bench_script.cc: a protocol in Lua, beside C++ and HAProxy's Lua
std::vector<Table> bench_script(const Options& options);
// bench_chat.cc: Portolan as a chat, beside Go and Mosquitto
std::vector<Table> bench_chat(const Options& options);
// bench_chat_paced.cc: a large room at a fixed pace, beside Go
std::vector<Table> bench_chat_paced(const Options& options);
// bench_chat_history.cc: a chat that keeps what is said, against the same without
std::vector<Table> bench_chat_history(const Options& options);
// bench_relay.cc: Portolan as a relay, beside a floor, HAProxy and nginx
std::vector<Table> bench_relay_request(const Options& options);
std::vector<Table> bench_relay_connect(const Options& options);
std::vector<Table> bench_relay_bulk(const Options& options);
std::vector<Table> bench_relay_memory(const Options& options);
std::vector<Table> bench_relay_udp(const Options& options);
std::vector<Table> bench_relay_two(const Options& options);
// bench_rudp*.cc: over an emulated link, beside the kernel's TCP, ngtcp2, ENet, UDT and scp
std::vector<Table> bench_rudp_bulk(const Options& options);
std::vector<Table> bench_rudp_share(const Options& options);
std::vector<Table> bench_rudp_messages(const Options& options);
std::vector<Table> bench_rudp_loopback(const Options& options);

}  // namespace portolan::bench
