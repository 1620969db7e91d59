#include "net/resolver.h"

#include "base/file_status.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <list>
#include <new>
#include <optional>

namespace portolan {

namespace {

// More than any service has: an answer over TCP holds thousands, and somebody will try them all.
constexpr std::size_t kMaxAddresses = 64;

constexpr int kFamilies[] = {AF_INET6, AF_INET};

bool wants(AddressFamily wanted, int family) noexcept {
  return wanted == AddressFamily::any || (wanted == AddressFamily::v4) == (family == AF_INET);
}

// Address::parse takes a port as well; a name to resolve has none.
std::optional<Address> numeric(std::string_view text) {
  const bool brackets_or_port = text.starts_with('[') || std::ranges::count(text, ':') == 1;
  if (text.empty() || brackets_or_port) return std::nullopt;
  const auto address = Address::parse(text);
  return address ? std::optional(*address) : std::nullopt;
}

bool equal_ignoring_case(std::string_view a, std::string_view b) noexcept {
  const auto lower = [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c; };
  return std::ranges::equal(a, b, {}, lower, lower);
}

// RFC 6761 section 6.3: such names are this machine, whatever a server would say.
bool is_localhost(std::string_view name) noexcept {
  constexpr std::string_view kLocalhost = "localhost";
  if (name.size() < kLocalhost.size()) return false;
  const std::size_t start = name.size() - kLocalhost.size();
  return equal_ignoring_case(name.substr(start), kLocalhost) && (start == 0 || name[start - 1] == '.');
}

// What tells that a file was replaced or written. Of a file that is not there: all zero.
struct FileVersion {
  std::uint64_t device = 0, inode = 0, size = 0;
  std::int64_t seconds = 0, nanoseconds = 0;
  friend bool operator==(const FileVersion&, const FileVersion&) = default;

  static FileVersion of(const std::string& path) noexcept {
    const auto found = file_status(path);
    if (!found) return {};
    return {.device = found->device,
            .inode = found->inode,
            .size = found->size,
            .seconds = found->modified_seconds,
            .nanoseconds = found->modified_nanoseconds};
  }
};

}  // namespace

// ---- A lookup ------------------------------------------------------------------------------------------------

struct ResolveHandle::Lookup {
  Resolver::State* resolver = nullptr;  // used by answers only, which end with the resolver
  ResolveCallback callback;             // empty: called, or not wanted any more
  AddressFamily family = AddressFamily::any;
  Duration deadline{};
  int unanswered = 0;                         // questions that c-ares has; it points to this until they are answered
  std::array<DnsAnswer, 2> answers = {};      // in the order of kFamilies
  std::optional<ResolveFailure> failed = {};  // before anything was asked
};

ResolveHandle& ResolveHandle::operator=(ResolveHandle&& other) noexcept {
  if (this != &other) {
    cancel();
    lookup_ = std::move(other.lookup_);
  }
  return *this;
}

void ResolveHandle::cancel() noexcept {
  // Destroyed at the end, and not in its place: what it holds may come back here.
  if (const auto lookup = std::move(lookup_)) const ResolveCallback unwanted = std::exchange(lookup->callback, {});
}

bool ResolveHandle::pending() const noexcept { return lookup_ && lookup_->callback; }

// ---- The resolver --------------------------------------------------------------------------------------------

struct Resolver::State : std::enable_shared_from_this<Resolver::State> {
  using Lookup = ResolveHandle::Lookup;

  State(Loop& event_loop, ResolverOptions wanted)
      : loop(event_loop), options(std::move(wanted)), timer(loop, [this] { pass(); }) {
    read_version = FileVersion::of(options.resolv_conf);
    channel = open();
  }

  std::unique_ptr<DnsChannel> open() {
    return std::make_unique<DnsChannel>(loop, DnsChannel::Options{.timeout = options.timeout,
                                                                  .tries = options.tries,
                                                                  .servers = options.servers,
                                                                  .resolv_conf = options.resolv_conf});
  }

  // A router's servers change when its line comes up or DHCP answers. What is under way ends with the old ones.
  void read_again_when_changed() {
    const FileVersion version = FileVersion::of(options.resolv_conf);
    if (version == read_version) return;
    try {
      retired.push_back(open());
    } catch (const std::exception&) {
      return;  // out of memory or descriptors: the old ones serve on, and the next lookup tries again
    }
    std::swap(channel, retired.back());
    read_version = version;
  }

  void start(Lookup& lookup, std::string_view text) {
    if (const auto address = numeric(text)) {
      if (wants(lookup.family, address->is_v4() ? AF_INET : AF_INET6)) {
        lookup.answers[0].addresses.push_back({*address, {}});
      } else {
        lookup.failed = {NetError::name_not_found,
                         fmt::format("it is an {} address", address->is_v4() ? "IPv4" : "IPv6")};
      }
      return;
    }
    if (!is_host_name(text)) {
      lookup.failed = {NetError::name_not_found, "not a host name"};
      return;
    }
    const std::string name(text);
    const std::string bare(text.substr(0, text.size() - (text.ends_with('.') ? 1 : 0)));
    bool known = false;
    for (std::size_t i = 0; i < std::size(kFamilies); ++i) {
      if (!wants(lookup.family, kFamilies[i])) continue;
      const Address address = channel->look_in_hosts(bare, kFamilies[i]);
      if (address.empty()) continue;
      lookup.answers[i].addresses.push_back({address, {}});
      known = true;
    }
    if (known) return;
    if (is_localhost(bare)) {
      if (wants(lookup.family, AF_INET6)) lookup.answers[0].addresses.push_back({*Address::parse("::1"), {}});
      if (wants(lookup.family, AF_INET)) lookup.answers[1].addresses.push_back({*Address::parse("127.0.0.1"), {}});
      return;
    }
    if (by_dns >= options.max_lookups) {
      lookup.failed = {NetError::system, fmt::format("{} lookups are under way already", by_dns)};
      return;
    }
    read_again_when_changed();
    ++by_dns;
    lookup.unanswered = wants(lookup.family, AF_INET) + wants(lookup.family, AF_INET6);
    if (wants(lookup.family, AF_INET6)) channel->ask(name, AF_INET6, &State::answered<0>, &lookup);
    if (wants(lookup.family, AF_INET)) channel->ask(name, AF_INET, &State::answered<1>, &lookup);
  }

  // From inside c-ares: only noted, pass() does the rest.
  template <std::size_t index>
  static void answered(void* argument, DnsAnswer answer) noexcept {
    auto& lookup = *static_cast<Lookup*>(argument);
    State& state = *lookup.resolver;
    if (--lookup.unanswered == 0) {
      --state.by_dns;
    } else if (!answer.addresses.empty()) {
      // Some servers answer for A and are silent for AAAA: who asked is not to wait for all the tries.
      lookup.deadline = std::min(lookup.deadline, Loop::now() + state.options.timeout);
    }
    lookup.answers[index] = std::move(answer);
    state.set_timer();
  }

  // The timer stands at the next moment at which pass() has something to do. At most max_lookups are looked through,
  // and those that wait for this turn of the loop.
  void set_timer() noexcept {
    std::optional<Duration> next;
    for (const auto& lookup : lookups) {
      if (lookup->unanswered == 0) return timer.start(Duration::zero());
      if (lookup->callback) next = std::min(next.value_or(lookup->deadline), lookup->deadline);
    }
    if (!next) return timer.stop();
    timer.start(std::max(*next - Loop::now(), Duration::zero()));
  }

  // Calls back for every lookup that is over, and forgets those that c-ares has let go of. From the loop only.
  void pass() noexcept {
    const auto self = shared_from_this();  // a callback may destroy the resolver
    const Duration now = Loop::now();
    std::size_t left = lookups.size();  // those that a callback adds wait for the next turn
    for (auto at = lookups.begin(); left > 0 && !closed; --left) {
      const std::shared_ptr<Lookup> lookup = *at;
      const bool over = lookup->unanswered == 0 || lookup->deadline <= now;
      at = lookup->unanswered == 0 ? lookups.erase(at) : std::next(at);
      if (!over || !lookup->callback) continue;
      const ResolveCallback callback = std::exchange(lookup->callback, {});
      callback(result_of(*lookup));
    }
    if (closed) return;
    std::erase_if(retired, [](const auto& old) { return old->under_way() == 0; });
    set_timer();
  }

  ResolveResult result_of(Lookup& lookup) const noexcept {
    try {
      if (lookup.failed) return std::unexpected(*lookup.failed);
      Resolution resolution;
      for (const DnsAnswer& answer : lookup.answers) {
        for (const ResolvedAddress& found : answer.addresses) {
          if (resolution.addresses.size() == kMaxAddresses) break;
          if (std::ranges::find(resolution.addresses, found.address, &ResolvedAddress::address) ==
              resolution.addresses.end()) {
            resolution.addresses.push_back(found);
          }
        }
      }
      if (!resolution.addresses.empty()) return resolution;
      return std::unexpected(failure_of(lookup));
    } catch (const std::bad_alloc&) {
      return std::unexpected(ResolveFailure{NetError::system, "out of memory"});
    }
  }

  ResolveFailure failure_of(const Lookup& lookup) const {
    const std::string asked = fmt::format(" (asked {})", channel->servers());
    if (lookup.unanswered > 0) {
      return {NetError::timed_out, fmt::format("timed out after {:.3g} s{}",
                                               std::chrono::duration<double>(options.deadline).count(), asked)};
    }
    // Only when nobody failed to answer is it certain that there is none. A refusal says more than a silence.
    bool exists = false;
    const DnsAnswer* graver = nullptr;
    for (const DnsAnswer& answer : lookup.answers) {
      exists = exists || answer.name_exists;
      if (answer.error == NetError::none || answer.error == NetError::name_not_found) continue;
      if (!graver || graver->error == NetError::timed_out) graver = &answer;
    }
    if (graver) return {graver->error, graver->what + asked};
    if (!exists) return {NetError::name_not_found, "name not found" + asked};
    const char* which = lookup.family == AddressFamily::v4   ? "IPv4 "
                        : lookup.family == AddressFamily::v6 ? "IPv6 "
                                                             : "";
    return {NetError::name_not_found, fmt::format("the name has no {}address{}", which, asked)};
  }

  Loop& loop;
  const ResolverOptions options;
  LoopTimer timer;
  FileVersion read_version;
  // Before the channels, which have pointers to those with questions under way.
  std::list<std::shared_ptr<Lookup>> lookups;
  std::size_t by_dns = 0;
  std::unique_ptr<DnsChannel> channel;
  std::vector<std::unique_ptr<DnsChannel>> retired;
  bool closed = false;
};

Resolver::Resolver(Loop& loop, ResolverOptions options) : state_(std::make_shared<State>(loop, std::move(options))) {}

Resolver::~Resolver() {
  State& state = *state_;
  state.closed = true;
  state.timer.stop();
  state.retired.clear();
  state.channel.reset();
  // What a callback holds may be handles of this very resolver, which come back to their lookups: none is erased here.
  for (const auto& lookup : state.lookups) const ResolveCallback unwanted = std::exchange(lookup->callback, {});
}

ResolveHandle Resolver::resolve(std::string_view name, AddressFamily family, ResolveCallback callback) {
  auto lookup = std::make_shared<ResolveHandle::Lookup>();
  lookup->resolver = state_.get();
  lookup->callback = std::move(callback);
  lookup->family = family;
  lookup->deadline = Loop::now() + state_->options.deadline;
  state_->lookups.push_back(lookup);
  try {
    state_->start(*lookup, name);
  } catch (const std::bad_alloc&) {
    lookup->failed = {NetError::system, "out of memory"};
  }
  state_->set_timer();
  return ResolveHandle(std::move(lookup));
}

const std::string& Resolver::servers() const noexcept { return state_->channel->servers(); }
std::size_t Resolver::under_way() const noexcept { return state_->by_dns; }

}  // namespace portolan
