// The configuration: a Lua file, read once into a checked, immutable value.
//
// load runs the file in a throw-away sandbox (string, table, math, utf8) with a memory and an instruction budget and
// checks what it returns against the schemas of core and of the plugins. It opens nothing but the file. All mistakes
// are reported, not the first only. Any thread.
#pragma once

#include "limits/ban_list.h"
#include "limits/limit_set.h"
#include "net/address.h"
#include "net/network.h"
#include "net/proxy_protocol.h"
#include "plugin/descriptor.h"
#include "rudp/options.h"
#include "store/store.h"

#include <cstdint>
#include <expected>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace portolan {

class Registry;

// One mistake: where (`services[2].idle_timeout`, or "" for the file as a whole) and what is wrong and expected.
struct Problem {
  std::string path;
  std::string message;
};
// "config/x.lua: services[2].idle_timout: unknown key; did you mean \"idle_timeout\"?" — a line for each.
std::string format_problems(const std::string& file, const std::vector<Problem>& problems);

struct LimitOptions {
  std::uint32_t max_sessions = 10000;  // 0: no limit, here and below
  std::uint32_t max_sessions_per_client = 1000;
  double accept_rate = 0;   // new sessions per second, for the service
  double message_rate = 0;  // per second and client address
  double byte_rate = 0;     // per second and client address
  Duration idle_timeout = std::chrono::minutes(5);
  Duration half_open_timeout = std::chrono::minutes(1);
  Duration datagram_timeout = std::chrono::seconds(30);
  Duration first_message_timeout = std::chrono::seconds(30);
  std::size_t output_limit = 256 * 1024;  // bytes unsent before the peer is no longer read
  std::vector<LimitRule> rules;           // `limits`
};

struct TlsOptions {
  std::string certificate;  // PEM files, absolute
  std::string key;
  std::string client_ca;  // empty: clients need no certificate
  bool self_signed = false;
  int min_version = 12;  // 12 or 13
};

// Streams come through proxies, which begin them with a PROXY header.
struct ProxyOptions {
  NetworkList from;  // the proxies, never empty: no other peer is served
  Duration timeout = std::chrono::seconds(3);
  std::size_t max_size = kProxyHeaderSize;
};

struct ServiceConfiguration {
  std::string name;
  std::size_t index = 0;  // in the configuration's `services`, from 0
  const Descriptor* plugin = nullptr;
  std::string folder;  // of the file, which relative paths belong to
  std::vector<Endpoint> listen;
  LimitOptions limits;
  std::optional<TlsOptions> tls;
  std::optional<ProxyOptions> proxy_protocol;
  std::optional<rudp::ConnectionOptions> rudp;  // of its rudp:// listeners
  bool keep_alive = true;
  bool no_delay = true;
  std::uint32_t backlog = 1024;
  std::uint32_t unix_mode = 0660;
  std::shared_ptr<const Options> options;  // the plugin's own
};

struct Configuration {
  std::string file;    // as given
  std::string source;  // its bytes, which workers run again for their functions
  unsigned workers = 1;
  std::string state_dir;  // absolute
  bool stats = true;
  StoreOptions store;
  BanOptions bans;
  Duration drain_timeout = std::chrono::seconds(30);
  std::string user;  // empty: stay who we are
  std::string group;
  std::string admin_socket;  // path, absolute
  std::uint32_t admin_mode = 0660;
  std::optional<Endpoint> admin_http;  // tcp only
  bool admin_console = true;           // `portolan console` may evaluate
  LogLevel log_level = LogLevel::info;
  std::size_t script_memory = 16U << 20U;                   // bytes for one Lua state
  std::uint64_t script_instructions = 1'000'000;            // for one call of a hook, or one resume of a task
  std::size_t script_tasks = 10'000;                        // of one worker, alive at a time
  Duration script_hook_timeout = std::chrono::seconds(30);  // of a hook that a session waits for
  std::uint32_t max_descriptors = 0;                        // 0: as many as the hard limit allows
  std::vector<std::string> plugin_path;
  std::vector<ServiceConfiguration> services;
};

// `state_dir_override` stands over the file's state_dir when not empty: it was said on the command line.
std::expected<Configuration, std::vector<Problem>> load_configuration(const std::string& file, Registry& registry,
                                                                      const std::string& state_dir_override = {});
// The same for text that is in memory already; `file` names it in messages.
std::expected<Configuration, std::vector<Problem>> parse_configuration(const std::string& file, std::string source,
                                                                       Registry& registry,
                                                                       const std::string& state_dir_override = {});

// The schemas, for help texts: the keys of the file, and those that every service has.
std::span<const Option> core_options() noexcept;
std::span<const Option> service_options() noexcept;

}  // namespace portolan
