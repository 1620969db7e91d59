#include "config/core_schema.h"

#include "config/limit_schema.h"
#include "config/proxy_schema.h"
#include "config/rudp_schema.h"
#include "config/store_schema.h"
#include "net/rudp_settings.h"
#include "net/tls.h"

#include <fmt/format.h>

#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <cstdlib>
#include <filesystem>
#include <thread>

namespace portolan {
namespace {

constexpr double kMostSeconds = 86'400.0 * 3650;
constexpr double kMost32Bits = 4'294'967'295.0;
constexpr double kMostBytes = 1'099'511'627'776.0;

constexpr Option kTlsFields[] = {
    {.key = "certificate", .type = OptionType::text, .help = "PEM file with the certificate and its chain", .min = 1},
    {.key = "key", .type = OptionType::text, .help = "PEM file with the private key", .min = 1},
    {.key = "client_ca",
     .type = OptionType::text,
     .help = "PEM file: only clients with a certificate of these authorities are served",
     .min = 1},
    {.key = "self_signed",
     .type = OptionType::boolean,
     .fallback = "false",
     .help = "instead of files: a certificate made at the start, for trying out"},
    {.key = "min_version",
     .type = OptionType::choice,
     .fallback = "1.2",
     .help = "the oldest version of TLS that is spoken",
     .choices = "1.2|1.3"},
};

constexpr Option kServiceOptions[] = {
    {.key = "plugin", .type = OptionType::text, .help = "the plugin that serves it", .min = 1, .required = true},
    {.key = "name", .type = OptionType::text, .help = "its name in logs and statistics; default: the plugin's name"},
    {.key = "listen",
     .type = OptionType::address,
     .help = "where it serves: tcp://, udp://, tls://, rudp:// or unix://; port 0 takes any free one",
     .list = true},
    {.key = "tls", .type = OptionType::table, .help = "for its tls:// listeners", .fields = kTlsFields},
    {.key = "rudp", .type = OptionType::table, .help = "for its rudp:// listeners", .fields = kRudpFields},
    {.key = "proxy_protocol",
     .type = OptionType::table,
     .help = "its clients come through proxies, which say who they are in a PROXY header, version 1 or 2, before TLS; "
             "who is no proxy, and what begins otherwise, is refused",
     .fields = kProxyFields},
    {.key = "max_sessions",
     .type = OptionType::integer,
     .fallback = "10000",
     .help = "sessions at the same time; 0: no limit",
     .min = 0,
     .max = kMost32Bits},
    {.key = "max_sessions_per_client",
     .type = OptionType::integer,
     .fallback = "1000",
     .help = "the same for one client address (IPv6: one /64; all unix peers are one); 0: no limit",
     .min = 0,
     .max = kMost32Bits},
    {.key = "accept_rate",
     .type = OptionType::rate,
     .fallback = "0",
     .help = "new sessions of the service; 0: no limit",
     .min = 0,
     .max = 1e9},
    {.key = "message_rate",
     .type = OptionType::rate,
     .fallback = "0",
     .help = "messages of one client address; 0: no limit",
     .min = 0,
     .max = 1e9},
    {.key = "byte_rate",
     .type = OptionType::rate,
     .fallback = "0",
     .help = "bytes received from one client address, as in \"1MiB/s\"; 0: no limit",
     .min = 0,
     .max = kMostBytes},
    {.key = "limits",
     .type = OptionType::table,
     .help = "further rates, at most 8: a list of tables",
     .list = true,
     .fields = kLimitFields},
    {.key = "idle_timeout",
     .type = OptionType::duration,
     .fallback = "5m",
     .help = "a stream without traffic for so long is closed; 0: never",
     .min = 0,
     .max = kMostSeconds},
    {.key = "half_open_timeout",
     .type = OptionType::duration,
     .fallback = "1m",
     .help = "a relayed stream of which one direction has ended: closed so long after the last byte; 0: never",
     .min = 0,
     .max = kMostSeconds},
    {.key = "datagram_timeout",
     .type = OptionType::duration,
     .fallback = "30s",
     .help = "a UDP peer without traffic for so long is forgotten",
     .min = 0.01,
     .max = kMostSeconds},
    {.key = "first_message_timeout",
     .type = OptionType::duration,
     .fallback = "30s",
     .help = "from the connection to the end of its handshake and first message; 0: no limit",
     .min = 0,
     .max = kMostSeconds},
    {.key = "output_limit",
     .type = OptionType::size,
     .fallback = "256KiB",
     .help = "unsent bytes for a peer above which it is no longer read",
     .min = 1024,
     .max = 1'073'741'824.0},
    {.key = "keep_alive",
     .type = OptionType::boolean,
     .fallback = "true",
     .help = "TCP keep-alive of accepted connections"},
    {.key = "no_delay",
     .type = OptionType::boolean,
     .fallback = "true",
     .help = "TCP_NODELAY: small writes leave at once"},
    {.key = "backlog",
     .type = OptionType::integer,
     .fallback = "1024",
     .help = "connections that the kernel keeps until they are accepted",
     .min = 1,
     .max = 65535},
    {.key = "unix_mode",
     .type = OptionType::text,
     .fallback = "0660",
     .help = "who may use its unix sockets, in octal"},
};

constexpr Option kAdminFields[] = {
    {.key = "socket",
     .type = OptionType::text,
     .help = "path of the local API; default: portolan.sock in $RUNTIME_DIRECTORY or state_dir",
     .min = 1},
    {.key = "mode", .type = OptionType::text, .fallback = "0660", .help = "who may use it, in octal"},
    {.key = "http",
     .type = OptionType::address,
     .help = "a tcp:// address for /healthz, /readyz and /metrics; default: none"},
    {.key = "console",
     .type = OptionType::boolean,
     .fallback = "true",
     .help = "who may use the socket may evaluate Lua in the daemon: `portolan console`"},
};

constexpr Option kLogFields[] = {
    {.key = "level",
     .type = OptionType::choice,
     .fallback = "info",
     .help = "the least that is logged",
     .choices = "error|warning|info|debug"},
};

constexpr Option kScriptFields[] = {
    {.key = "memory",
     .type = OptionType::size,
     .fallback = "16MiB",
     .help = "for the Lua state of one worker",
     .min = 262'144,
     .max = 1'073'741'824.0},
    {.key = "instructions",
     .type = OptionType::integer,
     .fallback = "1000000",
     .help = "Lua instructions for one call of a hook, or of a task between two waits",
     .min = 1000,
     .max = 1e12},
    {.key = "tasks",
     .type = OptionType::integer,
     .fallback = "10000",
     .help = "tasks of one worker that are alive at a time; a session of the plugin `script` is one",
     .min = 1,
     .max = 1'000'000},
    {.key = "hook_timeout",
     .type = OptionType::duration,
     .fallback = "30s",
     .help = "how long a hook may wait while its session stands still; then it has failed",
     .min = 0.001,
     .max = 86'400},
};

constexpr Option kCoreOptions[] = {
    {.key = "workers",
     .type = OptionType::integer,
     .fallback = "1",
     .help = "threads that serve, or \"auto\": one for each core",
     .min = 1,
     .max = 256},
    {.key = "state_dir",
     .type = OptionType::text,
     .help = "where the store and relative unix sockets are; default: $STATE_DIRECTORY, or the working directory",
     .min = 1},
    {.key = "store", .type = OptionType::table, .help = "the SQLite file; false: none", .fields = kStoreFields},
    {.key = "bans",
     .type = OptionType::table,
     .help = "bans who violates limits; without it only `portolan bans add` does",
     .fields = kBanFields},
    {.key = "stats",
     .type = OptionType::boolean,
     .fallback = "true",
     .help = "counts messages and bytes, latency and size"},
    {.key = "drain_timeout",
     .type = OptionType::duration,
     .fallback = "30s",
     .help = "how long sessions may take to end at a stop; a reload leaves them be",
     .min = 0,
     .max = 86'400},
    {.key = "user",
     .type = OptionType::text,
     .help = "becomes this user after binding; default: stays who it is",
     .min = 1},
    {.key = "group", .type = OptionType::text, .help = "and this group; default: the user's", .min = 1},
    {.key = "admin", .type = OptionType::table, .help = "the local API", .fields = kAdminFields},
    {.key = "log", .type = OptionType::table, .help = "the log", .fields = kLogFields},
    {.key = "script", .type = OptionType::table, .help = "bounds for Lua hooks", .fields = kScriptFields},
    {.key = "max_descriptors",
     .type = OptionType::integer,
     .fallback = "0",
     .help = "file descriptors to ask the system for; 0: as many as it allows",
     .min = 0,
     .max = 1'048'576.0 * 1024},
    {.key = "plugin_path",
     .type = OptionType::text,
     .help = "shared objects to load, or folders of them, beside this file when relative",
     .min = 1,
     .list = true},
    {.key = "services",
     .type = OptionType::table,
     .help = "what is served; see `portolan help service`",
     .required = true,
     .list = true,
     .fields = kServiceOptions},
};

// "0660". Answers nothing when it is not a mode.
std::optional<std::uint32_t> parse_mode(std::string_view text) {
  std::uint32_t mode = 0;
  const char* const end = text.data() + text.size();
  const auto result = std::from_chars(text.data(), end, mode, 8);
  if (text.size() < 3 || text.size() > 4 || result.ec != std::errc() || result.ptr != end || mode > 0777) {
    return std::nullopt;
  }
  return mode;
}

void read_mode(std::string_view text, const std::string& path, Checker& checker, std::uint32_t& mode) {
  if (const auto parsed = parse_mode(text)) {
    mode = *parsed;
  } else {
    checker.add(path, fmt::format("expected an octal mode such as \"0660\", found the text {}", quote(text)));
  }
}

std::string environment(const char* name) {
  const char* value = std::getenv(name);
  if (value == nullptr) return {};
  // systemd gives several directories with colons between.
  const std::string_view text = value;
  return std::string(text.substr(0, text.find(':')));
}

std::uint32_t integer32(const Options& options, std::string_view key) {
  return static_cast<std::uint32_t>(options.integer(key));
}

// The system would take a path up to its first NUL byte for the whole.
void check_path(std::string_view text, const std::string& path, Checker& checker) {
  if (text.find('\0') != std::string_view::npos)
    checker.add(path, fmt::format("a path cannot hold a NUL byte, found the text {}", quote(text)));
}

// Whether something was reported at this path or below it.
bool is_clean(const Checker& checker, const std::string& path) {
  return std::ranges::none_of(checker.problems, [&path](const Problem& problem) {
    return problem.path.starts_with(path) &&
           (problem.path.size() == path.size() || problem.path[path.size()] == '.' || problem.path[path.size()] == '[');
  });
}

void read_tls(const Options& options, const std::string& path, const std::string& folder, Checker& checker,
              ServiceConfiguration& service) {
  if (!is_clean(checker, path)) return;
  TlsOptions tls;
  const auto file = [&](std::string_view key) {
    check_path(options.text(key), join_path(path, key), checker);
    return options.text(key).empty() ? std::string() : resolve_path(folder, options.text(key));
  };
  tls.certificate = file("certificate");
  tls.key = file("key");
  tls.client_ca = file("client_ca");
  tls.self_signed = options.boolean("self_signed");
  tls.min_version = options.text("min_version") == "1.3" ? 13 : 12;
  if (!is_clean(checker, path)) return;
  if (tls.self_signed && (!tls.certificate.empty() || !tls.key.empty())) {
    checker.add(path, "self_signed makes a certificate: leave out certificate and key, or self_signed");
  } else if (!tls.self_signed && (tls.certificate.empty() || tls.key.empty())) {
    for (const char* key : {"certificate", "key"}) {
      if (options.text(key).empty()) {
        checker.add(join_path(path, key), "is missing: expected a PEM file (or self_signed = true, for trying out)");
      }
    }
  } else if (!tls.self_signed || !tls.client_ca.empty()) {
    if (std::string wrong = check_tls(tls); !wrong.empty()) checker.add(path, std::move(wrong));
  }
  service.tls = std::move(tls);
}

bool is_service_name(std::string_view name) {
  return !name.empty() && name.size() <= 64 && std::ranges::all_of(name, [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' || c == '.' ||
           c == '-';
  });
}

}  // namespace

std::span<const Option> core_options() noexcept { return kCoreOptions; }
std::span<const Option> service_options() noexcept { return kServiceOptions; }

std::string config_folder_of(const std::string& file) {
  std::error_code ignored;
  const std::filesystem::path absolute = std::filesystem::absolute(file, ignored);
  return absolute.parent_path().string();
}

std::string resolve_path(const std::string& folder, std::string_view path) {
  if (path.starts_with('/')) return std::string(path);
  return (std::filesystem::path(folder) / path).lexically_normal().string();
}

std::string read_state_dir(const Value& root, const std::string& state_dir_override) {
  std::error_code ignored;
  const std::string here = std::filesystem::current_path(ignored).string();
  if (!state_dir_override.empty()) return resolve_path(here, state_dir_override);
  const Value* written = root.find("state_dir");
  if (written != nullptr && written->kind == Value::Kind::text && !written->text.empty()) {
    return resolve_path(here, written->text);
  }
  if (const std::string given = environment("STATE_DIRECTORY"); !given.empty()) return resolve_path(here, given);
  return here;
}

void read_core(Value& root, Checker& checker, Configuration& configuration) {
  Configuration& out = configuration;
  bool automatic = false;
  if (const Value* workers = root.find("workers"); workers != nullptr && workers->kind == Value::Kind::text) {
    automatic = workers->text == "auto";
    if (!automatic) {
      checker.add("workers",
                  fmt::format("expected a whole number (1 to 256) or \"auto\", found {}", workers->describe()));
    }
    root.erase("workers");
  }
  if (const Value* store = root.find("store"); store != nullptr && store->kind == Value::Kind::boolean) {
    out.store.enabled = store->boolean;
    root.erase("store");
  }
  const Value* bans = root.find("bans");
  bool ban = bans != nullptr;
  if (bans != nullptr && bans->kind == Value::Kind::boolean) {
    ban = bans->boolean;
    root.erase("bans");
  }

  std::vector<std::string_view> known;
  for (const Option& option : core_options()) known.push_back(option.key);
  report_unknown_keys(root, known, {}, checker);
  // Services are a matter of their own: they have the keys of their plugins as well.
  const OptionTree options = OptionTree::read(root, core_options().first(std::size(kCoreOptions) - 1), {}, checker);

  out.workers = automatic ? std::clamp(std::thread::hardware_concurrency(), 1U, 256U)
                          : static_cast<unsigned>(options.integer("workers"));
  out.stats = options.boolean("stats");
  out.drain_timeout = options.duration("drain_timeout");
  out.user = options.text("user");
  out.group = options.text("group");
  out.max_descriptors = integer32(options, "max_descriptors");

  check_path(options.text("state_dir"), "state_dir", checker);
  const Options& store = options.table("store");
  check_path(store.text("path"), "store.path", checker);
  out.store.path = resolve_path(out.state_dir, store.text("path"));
  read_store(store, out.store);

  read_bans(options.table("bans"), ban, checker, out.bans);

  const Options& admin = options.table("admin");
  if (admin.has("socket")) {
    check_path(admin.text("socket"), "admin.socket", checker);
    out.admin_socket = resolve_path(out.state_dir, admin.text("socket"));
  } else {
    const std::string folder = environment("RUNTIME_DIRECTORY");
    out.admin_socket = resolve_path(folder.empty() ? out.state_dir : folder, "portolan.sock");
  }
  if (out.admin_socket.size() > 107) {
    checker.add(
        "admin.socket",
        fmt::format("the path {} is {} bytes long: a unix socket's path may have at most 107; choose a shorter one",
                    quote(out.admin_socket), out.admin_socket.size()));
  }
  read_mode(admin.text("mode"), "admin.mode", checker, out.admin_mode);
  out.admin_console = admin.boolean("console");
  if (!admin.text("http").empty()) {
    auto endpoint = Endpoint::parse(admin.text("http"));
    if (endpoint && endpoint->transport == Transport::tcp) {
      out.admin_http = std::move(*endpoint);
    } else {
      checker.add("admin.http", fmt::format("expected a tcp:// address, found the text {}", quote(admin.text("http"))));
    }
  }

  const std::string_view level = options.table("log").text("level");
  out.log_level = level == "error"     ? LogLevel::error
                  : level == "warning" ? LogLevel::warning
                  : level == "debug"   ? LogLevel::debug
                                       : LogLevel::info;
  out.script_memory = static_cast<std::size_t>(options.table("script").integer("memory"));
  out.script_hook_timeout = options.table("script").duration("hook_timeout");
  out.script_tasks = static_cast<std::size_t>(options.table("script").integer("tasks"));
  out.script_instructions = static_cast<std::uint64_t>(options.table("script").integer("instructions"));
  const std::string folder = config_folder_of(out.file);
  for (std::size_t index = 0; index < options.count("plugin_path"); ++index) {
    check_path(options.text_at("plugin_path", index), fmt::format("plugin_path[{}]", index + 1), checker);
    out.plugin_path.push_back(resolve_path(folder, options.text_at("plugin_path", index)));
  }
}

void read_service_options(const Value& table, const std::string& path, const std::string& config_folder,
                          Checker& checker, ServiceConfiguration& service) {
  const OptionTree options = OptionTree::read(table, service_options(), path, checker);
  service.name = options.text("name");
  if (options.has("name") && is_clean(checker, path + ".name") && !is_service_name(service.name)) {
    checker.add(path + ".name",
                fmt::format("expected 1 to 64 of A-Z, a-z, 0-9, _, . and -, found the text {}", quote(service.name)));
  }
  for (std::size_t index = 0; index < options.count("listen"); ++index) {
    if (auto endpoint = Endpoint::parse(options.text_at("listen", index)))
      service.listen.push_back(std::move(*endpoint));
  }
  LimitOptions& limits = service.limits;
  limits.max_sessions = integer32(options, "max_sessions");
  limits.max_sessions_per_client = integer32(options, "max_sessions_per_client");
  limits.accept_rate = options.number("accept_rate");
  limits.message_rate = options.number("message_rate");
  limits.byte_rate = options.number("byte_rate");
  limits.idle_timeout = options.duration("idle_timeout");
  limits.half_open_timeout = options.duration("half_open_timeout");
  limits.datagram_timeout = options.duration("datagram_timeout");
  limits.first_message_timeout = options.duration("first_message_timeout");
  limits.output_limit = static_cast<std::size_t>(options.integer("output_limit"));
  read_limits(options, path + ".limits", checker, limits.rules);
  service.keep_alive = options.boolean("keep_alive");
  service.no_delay = options.boolean("no_delay");
  service.backlog = integer32(options, "backlog");
  read_mode(options.text("unix_mode"), path + ".unix_mode", checker, service.unix_mode);
  if (options.has("proxy_protocol"))
    read_proxy_protocol(options.table("proxy_protocol"), path + ".proxy_protocol", checker, service);
  if (options.has("tls")) read_tls(options.table("tls"), path + ".tls", config_folder, checker, service);
  if (is_clean(checker, path + ".rudp")) {
    auto rudp = read_rudp(rudp_target(options.table("rudp")), config_folder);
    if (rudp)
      service.rudp = *rudp;
    else
      checker.add(path + ".rudp", std::move(rudp.error()));
  }
}

}  // namespace portolan
