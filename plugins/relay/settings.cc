#include "plugins/relay/settings.h"

#include "config/rudp_schema.h"
#include "net/address.h"
#include "plugins/relay/fault_set.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <map>
#include <optional>
#include <string_view>

namespace portolan::relay {
namespace {

// In the order of the choices in the schema.
CheckKind check_kind(std::string_view text) noexcept {
  if (text == "connect") return CheckKind::connect;
  if (text == "send") return CheckKind::send;
  if (text == "http") return CheckKind::http;
  if (text == "tls") return CheckKind::tls;
  if (text == "udp") return CheckKind::udp;
  return CheckKind::hook;
}

Balance balance_of(std::string_view text) noexcept {
  if (text == "random_two") return Balance::random_two;
  if (text == "least_sessions") return Balance::least_sessions;
  if (text == "hash") return Balance::hash;
  return text == "first" ? Balance::first : Balance::round_robin;
}

SendProxy send_proxy_of(std::string_view text) noexcept {
  if (text == "v1") return SendProxy::v1;
  return text == "v2" ? SendProxy::v2 : SendProxy::none;
}

SendProxySettings read_send_proxy(const Options& options, const Options& backend) noexcept {
  const Options& said = backend.has("send_proxy") ? backend : options;
  return {.version = send_proxy_of(said.text("send_proxy")), .crc = options.boolean("proxy_crc")};
}

// "200", "200-399".
std::optional<StatusRange> parse_status(std::string_view text) noexcept {
  const auto number = [](std::string_view part) -> std::uint16_t {
    std::uint16_t value = 0;
    const auto result = std::from_chars(part.data(), part.data() + part.size(), value);
    const bool whole = result.ec == std::errc() && result.ptr == part.data() + part.size();
    return whole && value >= 100 && value <= 599 ? value : 0;
  };
  const std::size_t dash = text.find('-');
  const std::uint16_t first = number(text.substr(0, dash));
  const std::uint16_t last = dash == std::string_view::npos ? first : number(text.substr(dash + 1));
  if (first == 0 || last < first) return std::nullopt;
  return StatusRange{first, last};
}

// 32 bytes in base64 are 43 characters and one "=".
bool is_pin(std::string_view text) noexcept {
  return text.size() == 44 && text.back() == '=' && std::ranges::all_of(text.substr(0, 43), [](char c) {
           return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '+' || c == '/';
         });
}

// May stand in a line of an HTTP request.
bool is_token_of_request(std::string_view text) noexcept {
  return std::ranges::all_of(text, [](unsigned char c) { return c > ' ' && c < 0x7f; });
}

bool is_udp(std::string_view address) noexcept { return address.starts_with("udp://"); }

std::string name_or_address(const Options& backend) {
  return std::string(backend.has("name") ? backend.text("name") : backend_name(backend.text("address")));
}

// It may be that of a backend that sessions are relayed to by tcp://.
bool checks_tls(const Options& options) noexcept {
  return options.has("health") && check_kind(options.table("health").text("check")) == CheckKind::tls;
}

void validate_tls(const Options& backend, bool checks, const std::string& path, Problems& problems) {
  if (checks && backend.text("address").starts_with("unix://")) {
    problems.add(path, "is unix://: health.check = \"tls\" needs tcp:// or tls://");
  }
  if (checks && backend.text("address").starts_with("rudp://")) {
    problems.add(path, "is rudp://: health.check = \"tls\" needs tcp:// or tls://");
  }
  if (!backend.has("tls")) return;
  const Options& tls = backend.table("tls");
  if (!checks && !backend.text("address").starts_with("tls://")) {
    problems.add(path + ".tls", fmt::format("needs a tls:// address, and this one is {}", backend.text("address")));
  }
  if (tls.has("certificate") != tls.has("key")) {
    const std::string_view missing = tls.has("certificate") ? "key" : "certificate";
    problems.add(fmt::format("{}.tls.{}", path, missing),
                 "is missing: a client certificate is a PEM file and one with its key");
  }
  for (std::size_t at = 0; at < tls.count("pins"); ++at) {
    if (is_pin(tls.text_at("pins", at))) continue;
    problems.add(fmt::format("{}.tls.pins[{}]", path, at + 1),
                 R"(is no SHA-256 in base64: expected 44 characters, the last of them "=")");
  }
}

void validate_rudp(const Options& backend, const std::string& path, Problems& problems) {
  if (backend.has("rudp") && !backend.text("address").starts_with("rudp://"))
    problems.add(path + ".rudp", fmt::format("needs a rudp:// address, and this one is {}", backend.text("address")));
}

void validate_backends(const Options& options, Problems& problems) {
  const std::size_t count = options.count("backends");
  if (count == 0) problems.add("backends", R"(is empty: expected at least one, such as "tcp://192.0.2.7:80")");
  std::map<std::string, std::size_t, std::less<>> addresses;
  std::map<std::string, std::size_t, std::less<>> names;
  for (std::size_t at = 0; at < count; ++at) {
    const Options& backend = options.table_at("backends", at);
    const std::string path = fmt::format("backends[{}]", at + 1);
    const std::string_view address = backend.text("address");
    if (const auto [other, is_new] = addresses.emplace(address, at + 1); !is_new) {
      problems.add(path, fmt::format("has the address of backends[{}], {}: give that one a weight instead",
                                     other->second, address));
    } else if (const auto [same, fresh] = names.emplace(name_or_address(backend), at + 1); !fresh) {
      problems.add(path + ".name",
                   fmt::format("\"{}\" is the name of backends[{}] already", same->first, same->second));
    }
    if (is_udp(address) != is_udp(options.table_at("backends", 0).text("address"))) {
      problems.add(path,
                   fmt::format("{} and backends[1] are not of one kind: either all are udp:// or none is", address));
    }
    validate_tls(backend, checks_tls(options), path, problems);
    validate_rudp(backend, path, problems);
  }
}

bool relays_datagrams(const Options& options) {
  return options.count("backends") != 0 && is_udp(options.table_at("backends", 0).text("address"));
}

void validate_send_proxy(const Options& options, Problems& problems) {
  bool version_2 = false;
  for (std::size_t at = 0; at < options.count("backends"); ++at) {
    const Options& backend = options.table_at("backends", at);
    const SendProxy version = read_send_proxy(options, backend).version;
    version_2 |= version == SendProxy::v2;
    if (version == SendProxy::none || !is_udp(backend.text("address"))) continue;
    const bool own = backend.has("send_proxy");
    problems.add(own ? fmt::format("backends[{}].send_proxy", at + 1) : "send_proxy",
                 "is for streams, and the backends are udp://");
    if (!own) break;
  }
  if (options.has("proxy_crc") && options.boolean("proxy_crc") && !version_2)
    problems.add("proxy_crc", "needs send_proxy = \"v2\"");
}

void validate_transports(const Options& options, Problems& problems) {
  const bool datagrams = relays_datagrams(options);
  const std::uint8_t fits = datagrams ? kUdp : kStreams;
  if ((options.listens() & ~fits) == 0) return;
  problems.add("listen", datagrams ? "the backends are udp://: so is what it listens on"
                                   : "the backends are streams: expected tcp://, tls://, rudp:// or unix://, and a "
                                     "service of "
                                     "its own for udp://");
}

// With `problems` it only checks.
std::vector<Fault> read_faults(const Options& options, Problems* problems) {
  struct Unwanted final : Problems {
    void add(std::string_view, std::string_view) noexcept override {}
  } unwanted;
  const Carrier carrier = relays_datagrams(options) ? Carrier::datagrams : Carrier::streams;
  std::vector<Fault> faults;
  for (std::size_t at = 0; at < options.count("faults"); ++at) {
    const std::string path = fmt::format("faults[{}]", at + 1);
    auto fault = read_fault(options.table_at("faults", at), path, problems ? *problems : unwanted);
    if (!fault) continue;
    if (const std::string why = unfit(*fault, carrier); problems && !why.empty()) problems->add(path, why);
    faults.push_back(std::move(*fault));
  }
  if (problems && !faults.empty()) {
    if (const auto set = FaultSet::make(faults); !set) problems->add("faults", set.error());
  }
  return faults;
}

void validate_health(const Options& options, Problems& problems) {
  if (!options.has("health")) return;
  const Options& health = options.table("health");
  const CheckKind kind = check_kind(health.text("check"));
  const bool sends = kind == CheckKind::send || kind == CheckKind::udp;
  for (const std::string_view key : {"send", "expect"}) {
    if (health.has(key) && !sends) problems.add(fmt::format("health.{}", key), "needs check = \"send\" or \"udp\"");
  }
  for (const std::string_view key : {"path", "host", "status"}) {
    if (health.has(key) && kind != CheckKind::http) {
      problems.add(fmt::format("health.{}", key), "needs check = \"http\"");
    }
  }
  if (kind == CheckKind::send && !health.has("send") && !health.has("expect")) {
    problems.add("health.send", "is missing: check = \"send\" needs what to send, or what to expect, or both");
  }
  if (kind == CheckKind::udp && !health.has("send")) {
    problems.add("health.send", "is missing: check = \"udp\" needs a datagram that the backend answers");
  }
  if (kind == CheckKind::hook && !options.has_hook(kCheckHook)) {
    problems.add(kCheckHook, "is missing: health.check = \"hook\" calls it");
  }
  const bool udp = relays_datagrams(options);
  if (kind != CheckKind::hook && udp != (kind == CheckKind::udp)) {
    problems.add("health.check", udp ? "expected \"udp\" or \"hook\": the backends are udp://"
                                     : "\"udp\" needs backends that are udp://");
  }
  if (!health.text("path").starts_with('/') || !is_token_of_request(health.text("path"))) {
    problems.add("health.path", "expected a path such as \"/healthz\", without spaces");
  }
  if (!is_token_of_request(health.text("host"))) problems.add("health.host", "expected the name of a host");
  if (health.count("status") == 0) problems.add("health.status", "is empty: no answer would pass");
  for (std::size_t at = 0; at < health.count("status"); ++at) {
    if (parse_status(health.text_at("status", at))) continue;
    problems.add(fmt::format("health.status[{}]", at + 1),
                 "expected a number from 100 to 599 or a range such as \"200-399\"");
  }
}

// `low` may not be over `high`, keys of the same table.
void validate_order(const Options& options, std::string_view table, std::string_view low, std::string_view high,
                    Problems& problems) {
  const Options& inner = options.table(table);
  if (inner.duration(low) <= inner.duration(high)) return;
  problems.add(fmt::format("{}.{}", table, low), fmt::format("is longer than {}.{}", table, high));
}

CheckSettings read_check(const Options& options) {
  CheckSettings check;
  if (!options.has("health")) return check;
  const Options& health = options.table("health");
  check.kind = check_kind(health.text("check"));
  check.timeout = health.duration("timeout");
  check.send = health.text("send");
  check.expect = health.text("expect");
  check.path = health.text("path");
  check.host = health.text("host");
  for (std::size_t at = 0; at < health.count("status"); ++at) {
    if (const auto range = parse_status(health.text_at("status", at))) check.status.push_back(*range);
  }
  return check;
}

std::uint32_t number(const Options& options, std::string_view key) {
  return static_cast<std::uint32_t>(options.integer(key));
}

BackendTls read_tls(const Options& tls) {
  BackendTls result;
  result.name = tls.text("name");
  result.ca = tls.text("ca");
  result.certificate = tls.text("certificate");
  result.key = tls.text("key");
  result.verify = tls.boolean("verify");
  for (std::size_t at = 0; at < tls.count("pins"); ++at) {
    if (at != 0) result.pins += ',';
    result.pins += tls.text_at("pins", at);
  }
  return result;
}

}  // namespace

bool CheckSettings::passes(unsigned code) const noexcept {
  return std::ranges::any_of(status,
                             [code](const StatusRange& range) { return code >= range.first && code <= range.last; });
}

void validate_settings(const Options& options, Problems& problems) noexcept {
  try {
    validate_backends(options, problems);
    const double load = options.number("hash_load");
    if (load != 0 && load < 1) {
      problems.add("hash_load", "expected 0 or at least 1: below it not all sessions would have a backend");
    }
    if (options.has("hash_load") && options.text("balance") != "hash") {
      problems.add("hash_load", "needs balance = \"hash\"");
    }
    validate_transports(options, problems);
    validate_send_proxy(options, problems);
    validate_health(options, problems);
    read_faults(options, &problems);
    validate_order(options, "retry", "backoff", "max_backoff", problems);
    validate_order(options, "passive", "base", "max", problems);
    validate_order(options, "breaker", "reset_after", "max_reset_after", problems);
  } catch (...) {
    problems.add("", "cannot be checked: out of memory");
  }
}

RelaySettings read_settings(const Options& options) {
  RelaySettings settings;
  for (std::size_t at = 0; at < options.count("backends"); ++at) {
    const Options& backend = options.table_at("backends", at);
    settings.set.backends.push_back({.address = std::string(backend.text("address")),
                                     .name = name_or_address(backend),
                                     .weight = number(backend, "weight"),
                                     .backup = backend.boolean("backup"),
                                     .max_sessions = number(backend, "max_sessions"),
                                     .rate = backend.number("rate")});
    settings.tls.push_back(read_tls(backend.table("tls")));
    settings.rudp.push_back(rudp_target(backend.table("rudp")));
    // A check of the handshake alone: nothing was said about the certificate.
    if (checks_tls(options) && !backend.has("tls") && !backend.text("address").starts_with("tls://"))
      settings.tls.back().verify = false;
    settings.send_proxy.push_back(read_send_proxy(options, backend));
  }
  settings.set.slow_start = options.duration("slow_start");
  settings.set.fail_open = options.boolean("fail_open");
  const Options& health = options.table("health");
  settings.set.health = {.active = options.has("health"),
                         .initially_up = health.text("initial") == "up",
                         .every = health.duration("every"),
                         .every_down = health.duration("every_down"),
                         .rise = number(health, "rise"),
                         .fall = number(health, "fall")};
  const Options& passive = options.table("passive");
  settings.set.passive = {.failures = number(passive, "failures"),
                          .early_close = passive.boolean("early_close"),
                          .base = passive.duration("base"),
                          .max = passive.duration("max"),
                          .max_share = number(passive, "max_share")};
  const Options& breaker = options.table("breaker");
  settings.set.breaker = {.failures = number(breaker, "failures"),
                          .window = breaker.duration("window"),
                          .reset_after = breaker.duration("reset_after"),
                          .max_reset_after = breaker.duration("max_reset_after"),
                          .trials = number(breaker, "trials"),
                          .successes = number(breaker, "successes")};
  settings.balance = {.balance = balance_of(options.text("balance")), .hash_load = options.number("hash_load")};
  settings.connect_timeout = options.duration("connect_timeout");
  const Options& retry = options.table("retry");
  settings.retry = {.attempts = number(options, "attempts"),
                    .backoff = retry.duration("backoff"),
                    .max_backoff = retry.duration("max_backoff"),
                    .deadline = retry.duration("timeout"),
                    .budget = static_cast<double>(retry.integer("budget")) / 100,
                    .min_per_second = static_cast<double>(retry.integer("min_per_second"))};
  const Options& queue = options.table("queue");
  settings.queue = {.max = number(queue, "max"), .timeout = queue.duration("timeout")};
  settings.check = read_check(options);
  settings.datagrams = relays_datagrams(options);
  settings.faults = read_faults(options, nullptr);
  return settings;
}

}  // namespace portolan::relay
