// What tests of the relay share: its configuration, and bytes that are known by their seed and place.
#pragma once

#include "support/client.h"
#include "support/daemon.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstdint>
#include <filesystem>
#include <random>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "support/cmocka.h"

namespace portolan::testing {

struct RelayConfiguration {
  std::vector<std::string> backends;  // addresses, or tables in Lua
  std::string options = {};           // of the service
  std::string listen = "tcp://127.0.0.1:0";
  std::string core = {};  // "workers = 2,"
};

// One service, called relay. Its streams are not ended for being idle unless the options say so.
inline std::string relay_configuration(const RelayConfiguration& relay) {
  std::string backends;
  for (const std::string& one : relay.backends)
    backends += one.starts_with('{') ? one + ", " : fmt::format("'{}', ", one);
  const std::string idle = relay.options.find("idle_timeout") == std::string::npos ? "idle_timeout = '600s', " : "";
  return fmt::format(
      "return {{ {} services = {{ {{ plugin = 'relay', name = 'relay', listen = '{}', backends = {{ {} }}, "
      "max_sessions_per_client = 0, {}{} }} }} }}\n",
      relay.core, relay.listen, backends, idle, relay.options);
}

// Bytes that look like noise, the same for the same seed.
inline std::string noise(std::size_t size, std::uint64_t seed) {
  std::mt19937_64 random(seed);
  std::string bytes((size + 7) / 8 * 8, '\0');
  for (std::size_t at = 0; at < bytes.size(); at += 8) {
    const std::uint64_t word = random();
    for (std::size_t index = 0; index < 8; ++index) bytes[at + index] = static_cast<char>(word >> (8 * index));
  }
  bytes.resize(size);
  return bytes;
}

// Sends one stream of noise and receives another at once, in pieces of 1 byte to 1 MiB that both ends agree on: the peer
// calls it with the seeds swapped. The answer is how many bytes came as they should; `total` when all did.
inline std::size_t swap_noise(Client& client, std::uint64_t sends, std::uint64_t receives, std::size_t total) {
  std::mt19937_64 random(sends ^ receives);
  std::size_t done = 0;
  while (done < total) {
    const std::size_t size =
        std::min<std::size_t>(total - done, 1 + (random() & ((std::size_t{1} << random() % 21) - 1)));
    if (client.exchange(noise(size, sends + done), size) != noise(size, receives + done)) return done;
    done += size;
  }
  return done;
}

// Ends of pipes that a process has open.
inline long pipes_of(pid_t pid) {
  long count = 0;
  std::error_code error;
  for (const auto& entry : std::filesystem::directory_iterator(fmt::format("/proc/{}/fd", pid), error)) {
    const std::string target = std::filesystem::read_symlink(entry.path(), error).string();
    if (target.starts_with("pipe:")) ++count;
  }
  return count;
}

// One backend of the relay, as `portolan backends` tells.
inline Json backend_status(Daemon& daemon, const std::string& address) {
  for (const Json& one : daemon.query({"backends", "relay"}))
    if (one.at("address") == address) return one;
  return {};
}

// One side asks and ends, and is answered by the other, which has seen the end; then the other way round. `open` makes a pair
// of clients that are connected through what is tested.
template <typename Open>
void talk_with_half_closes(Open&& open) {
  const std::string question = noise(300'000, 7);
  const std::string answer = noise(500'000, 8);
  for (const bool client_first : {true, false}) {
    Client client, backend;
    open(client, backend);
    Client& first = client_first ? client : backend;
    Client& second = client_first ? backend : client;
    std::thread sender([&] { first.send(question) && first.finish_sending(); });
    const std::string asked = second.receive_all();
    sender.join();
    assert_true(asked == question);
    assert_string_equal(to_text(second.end()), to_text(End::closed));
    std::thread answerer([&] { second.send(answer) && second.finish_sending(); });
    const std::string answered = first.receive_all();
    answerer.join();
    assert_true(answered == answer);
    assert_string_equal(to_text(first.end()), to_text(End::closed));
  }
}

}  // namespace portolan::testing
