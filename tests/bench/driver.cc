// portolan_bench: runs the benches and prints their tables. Progress goes to stderr, results to stdout.
#include <fmt/format.h>
#include <sched.h>

#include <algorithm>
#include <array>
#include <cstdio>
#include <exception>
#include <iterator>

#include "benches.h"
#include "net.h"
#include "options.h"
#include "table.h"

namespace portolan::bench {
namespace {

constexpr std::array kBenches = {
    Bench{"echo", "TCP echo: CPU per request, and throughput when pipelined", bench_echo},
    Bench{"binary", "binary frames: CPU per request, and throughput when pipelined", bench_binary},
    Bench{"udp", "UDP echo: CPU per datagram", bench_udp},
    Bench{"connect", "connect, ask, close: CPU per connection", bench_connect},
    Bench{"memory", "memory of an idle TCP session", bench_memory},
    Bench{"stats", "what statistics and the store cost", bench_stats},
    Bench{"start", "cold start to the first answer, and idle memory", bench_start},
    Bench{"hook", "what a Lua hook costs per line", bench_hook},
    Bench{"script", "a line echo written in Lua, beside C++ and HAProxy's Lua", bench_script},
    Bench{"chat", "fan-out in a room: deliveries for a second of CPU", bench_chat},
    Bench{"chat-paced", "5,000 members of a room, 20 messages a second: latency", bench_chat_paced},
    Bench{"chat-history", "what it costs to keep what is said, and how much can be kept", bench_chat_history},
    Bench{"relay-request", "TCP relay: CPU per request, and latency", bench_relay_request},
    Bench{"relay-connect", "TCP relay: CPU per connection, and latency", bench_relay_connect},
    Bench{"relay-bulk", "TCP relay: CPU per gigabyte of 1 stream and of 32", bench_relay_bulk},
    Bench{"relay-memory", "TCP relay: memory of an idle pair", bench_relay_memory},
    Bench{"relay-udp", "UDP relay: datagrams for a second of CPU", bench_relay_udp},
    Bench{"relay-two", "the TCP relay's first three with two workers", bench_relay_two},
    Bench{"rudp-bulk", "a file over an emulated link that loses packets, beside TCP and others", bench_rudp_bulk,
          false},
    Bench{"rudp-share", "the share of a link that is left to a TCP flow", bench_rudp_share, false},
    Bench{"rudp-messages", "latency of small messages over an emulated link", bench_rudp_messages, false},
    Bench{"rudp-loopback", "bytes for a second of CPU, without a link between", bench_rudp_loopback, false},
};

void pin_this_process(int cpu) {
  cpu_set_t set;
  CPU_ZERO(&set);
  CPU_SET(cpu, &set);
  if (::sched_setaffinity(0, sizeof set, &set) != 0) fmt::print(stderr, "{}\n", error_text("cannot pin the load"));
}

int run(const Options& options) {
  raise_descriptor_limit();
  catch_interrupts();
  if (options.load_cpu) pin_this_process(*options.load_cpu);
  std::vector<Table> all;
  for (const Bench& bench : kBenches) {
    if (!is_of(bench, options.bench) || interrupted()) continue;
    auto tables = bench.run(options);
    std::erase_if(tables, [](const Table& table) { return table.rows.empty(); });
    for (const Table& table : tables) {
      if (options.format == Format::kText) fmt::print("{}\n", to_text(table));
      if (options.format == Format::kMarkdown) fmt::print("{}\n", to_markdown(table));
    }
    std::fflush(stdout);
    std::ranges::move(tables, std::back_inserter(all));
  }
  if (options.format == Format::kJson) fmt::print("{}", to_json(all));
  return interrupted() ? 130 : 0;
}

}  // namespace

std::span<const Bench> benches() { return kBenches; }

bool is_of(const Bench& bench, std::string_view name) {
  return (name == "all" && bench.in_all) || name == bench.name ||
         (bench.name.starts_with(name) && bench.name.substr(name.size()).starts_with('-'));
}

}  // namespace portolan::bench

int main(int argc, char** argv) {
  using namespace portolan::bench;
  const auto options = parse_options(argc, argv);
  if (!options) {
    fmt::print(stderr, "portolan_bench: {}\n\n{}", options.error(), usage());
    return 2;
  }
  if (options->help) {
    fmt::print("{}", usage());
    return 0;
  }
  try {
    return run(*options);
  } catch (const std::exception& error) {
    fmt::print(stderr, "portolan_bench: {}\n", error.what());
    return 1;
  }
}
