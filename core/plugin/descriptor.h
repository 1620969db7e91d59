// The contract of a plugin: what it declares. What it does at run time is in service.h beside this file.
//
// A plugin is one constexpr Descriptor. Built-in plugins are named in plugins/list.cmake; a plugin of somebody
// else's is a shared object that exports its descriptor with PORTOLAN_EXPORT_PLUGIN and is found through the
// configuration's `plugin_path`. Both go through the same checks.
//
// What crosses this boundary is virtual calls, plain values and views: no exception, no container by value, no
// memory freed on the other side (objects are deleted through their virtual destructor). A view that a function
// receives is valid until that function returns, unless its comment says otherwise.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <span>
#include <string_view>

namespace portolan {

// Raised whenever a type in this file or in service.h changes its layout or meaning.
inline constexpr std::uint32_t kContractVersion = 5;

using Duration = std::chrono::nanoseconds;

// ---- Options: the schema -------------------------------------------------------------------------------------

enum class OptionType : std::uint8_t {
  boolean,
  integer,   // min..max
  number,    // min..max
  text,      // min..max bytes
  choice,    // one of `choices`
  duration,  // "30s", "1h30m"; min..max in seconds
  size,      // "64KiB"; min..max in bytes
  rate,      // "100/s", "1MiB/s", or a number per second; 0 switches a limit off; min..max per second
  address,   // tcp://127.0.0.1:80, udp://[::1]:53, tls://0.0.0.0:443, unix:///run/x.sock
  target,    // the same, to connect to: the host may be a name, the port is not 0
  table,     // the keys in `fields`
};

// One key of a plugin's configuration. The schema is the only source: it checks the configuration, prints
// `portolan help PLUGIN` and makes the option table in the plugin's README.
struct Option {
  std::string_view key;
  OptionType type;
  std::string_view fallback = {};  // the default as a user would write it: "64KiB"; empty: none
  std::string_view help = {};      // one line
  double min = -std::numeric_limits<double>::infinity();
  double max = std::numeric_limits<double>::infinity();
  std::string_view choices = {};  // "raw|lines", for OptionType::choice
  bool required = false;
  bool list = false;  // a Lua array of this type; a single value stands for an array of one
  std::span<const Option> fields = {};
  std::string_view short_key = {};  // of a table: a text in the table's place is the value of this key
};

// The checked values, defaults filled in. Lives as long as the service that was made with it, and so do its views.
// Asking for a key that the schema does not have, or as another type than it has, is a bug of the plugin: it
// answers zero, false or "" and aborts in a debug build.
class Options {
 public:
  virtual bool has(std::string_view key) const noexcept = 0;  // written by the user
  virtual bool boolean(std::string_view key) const noexcept = 0;
  virtual std::int64_t integer(std::string_view key) const noexcept = 0;  // integer, size
  virtual double number(std::string_view key) const noexcept = 0;         // number, rate (per second)
  virtual Duration duration(std::string_view key) const noexcept = 0;
  virtual std::string_view text(std::string_view key) const noexcept = 0;  // text, choice, address
  virtual std::size_t count(std::string_view key) const noexcept = 0;      // elements of a list
  virtual std::string_view text_at(std::string_view key, std::size_t index) const noexcept = 0;
  virtual const Options& table(std::string_view key) const noexcept = 0;
  virtual const Options& table_at(std::string_view key, std::size_t index) const noexcept = 0;
  // The transports of the service's listeners, as bits of Transports. Of the service's options, not of a table in them.
  virtual std::uint8_t listens() const noexcept = 0;
  // True when the user gave a function under this hook's name.
  virtual bool has_hook(std::string_view name) const noexcept = 0;

 protected:
  ~Options() = default;
};

// A Lua function in the configuration that the plugin calls; see Hook in service.h.
struct HookDeclaration {
  std::string_view name;       // on_line
  std::string_view signature;  // (line, session) -> string | nil, reason
  std::string_view help;
};

// A number of the plugin's own, kept beside those that core keeps for every service. The index in
// Descriptor::counters is the number that Context::count takes.
struct CounterDeclaration {
  std::string_view name;  // unknown_types
  std::string_view help;
};

// An order or a question that an operator may give a service while it runs (Service::on_command):
// `portolan command SERVICE NAME key=value…`. Core refuses a call that does not fit the declaration.
//
// `arguments` are words with a space between them. `backend=NAME`: it must be given, never empty, and NAME says in the help
// what it is. `[weight=N]`: it may be given. `…` as the last word: arguments of any other name may be given, too.
// Core has `drain` and `undrain` without arguments for every service; a plugin's own of these names requires one.
struct CommandDeclaration {
  std::string_view name;            // drain
  std::string_view arguments = {};  // backend=NAME [weight=N]
  std::string_view help = {};       // one line
  bool question = false;            // changes nothing: no row of the store's `events`
};

// Where a plugin reports what the schema alone cannot check. `key` is relative to the service: "health.every".
class Problems {
 public:
  virtual void add(std::string_view key, std::string_view message) noexcept = 0;

 protected:
  ~Problems() = default;
};

// ---- The descriptor ------------------------------------------------------------------------------------------

enum class Placement : std::uint8_t {
  every_worker,   // an instance on each worker, each with its own socket
  single_worker,  // one instance on the first worker: one view of the world, no locks
};

// A set of transports, as bits.
enum Transports : std::uint8_t { kTcp = 1, kUdp = 2, kTls = 4, kUnix = 8, kStreams = kTcp | kTls | kUnix };

class Context;
class Service;

struct Descriptor {
  std::uint32_t contract_version = kContractVersion;
  std::string_view name;
  std::string_view summary;        // one line
  std::uint8_t transports = kTcp;  // what its listeners may be; 0: it has none
  bool listens_always = true;      // a service without a listener is a mistake
  Placement placement = Placement::every_worker;
  std::span<const Option> options = {};  // beside those that every service has (`portolan help service`)
  std::span<const HookDeclaration> hooks = {};
  std::span<const CounterDeclaration> counters = {};
  std::span<const CommandDeclaration> commands = {};
  // A datagram peer over max_sessions takes the place of the one that was quiet for longest, instead of being refused.
  bool replaces_peers = false;
  // What idle_timeout is where the configuration does not say; zero: what it is for every service. For protocols in which
  // being quiet is no sign of having gone.
  Duration idle_timeout{};

  // Pure: opens nothing, keeps nothing. Called on the main thread after the schema has passed. May be null.
  void (*validate)(const Options& options, Problems& problems) noexcept = nullptr;

  // Makes one instance, on the thread of the worker that will run it. Owned by the caller. Null, with a sentence in
  // `problems`, when it cannot: a start then goes on without this service, a reload is refused.
  Service* (*make)(Context& context, const Options& options, Problems& problems) noexcept = nullptr;
};

}  // namespace portolan

// In exactly one source file of a shared object:  PORTOLAN_EXPORT_PLUGIN(kMyPlugin)
#define PORTOLAN_EXPORT_PLUGIN(descriptor)                                                            \
  extern "C" __attribute__((visibility("default"))) const ::portolan::Descriptor* portolan_plugin() { \
    return &(descriptor);                                                                             \
  }
