#include "support/fake_stream.h"

#include "base/units.h"

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>

namespace portolan::testing {
namespace {

// Not a cmocka assert: this also runs in fuzzers, and below callbacks that nothing may jump out of.
void require(bool condition, const char* rule, std::string_view detail = "") noexcept {
  if (condition) return;
  std::fprintf(stderr, "contract broken: %s %.*s\n", rule, static_cast<int>(detail.size()), detail.data());
  std::abort();
}

std::unique_ptr<std::byte[]> exact_copy(std::string_view bytes) {
  auto copy = std::make_unique_for_overwrite<std::byte[]>(bytes.size());
  if (!bytes.empty()) std::memcpy(copy.get(), bytes.data(), bytes.size());
  return copy;
}

bool is_view_of(std::span<const std::byte> part, std::span<const std::byte> whole) noexcept {
  return !part.empty() && std::greater_equal<>()(part.data(), whole.data()) &&
         std::less_equal<>()(part.data() + part.size(), whole.data() + whole.size());
}

std::string_view as_text(std::span<const std::byte> bytes) noexcept {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

bool declares_hook(const Descriptor& descriptor, std::string_view name) noexcept {
  return std::ranges::find(descriptor.hooks, name, &HookDeclaration::name) != descriptor.hooks.end();
}

}  // namespace

// ---- Stream --------------------------------------------------------------------------------------------------

FakeStream::FakeStream(Service& service) : service_(service), handler_(nullptr) {
  handler_ = service.open(*this);  // which may write, so all else is there already
  require(handler_ != nullptr, "open answered null");
}

FakeStream::~FakeStream() { close_now(); }

void FakeStream::receive(std::string_view bytes) {
  if (closed || !handler_ || bytes.empty()) return;
  kept.append(bytes);
  call_on_data();
}

void FakeStream::resume_admitting(std::size_t next) {
  admit_next = next;
  if (!closed && handler_ && !kept.empty()) call_on_data();
}

void FakeStream::call_on_data() {
  const auto data = exact_copy(kept);
  input_ = {data.get(), kept.size()};
  in_callback_ = true;
  refused_admission_ = false;
  const std::size_t used = handler_->on_data(*this, input_);
  in_callback_ = false;
  input_ = {};
  require(used <= kept.size(), "on_data consumed more than came");
  require(reserved_ == nullptr, "on_data left a reservation without a commit");
  kept.erase(0, used);
  if (closed) kept.clear();
  // A peer that is slowed down may have more waiting: core then stops reading, and that is no mistake of the peer.
  if (!closed && used == 0 && !refused_admission_ && kept.size() >= service_.input_limit()) {
    refusal = Refusal::message_too_long;
    closed = true;
    kept.clear();
  }
}

void FakeStream::end() {
  if (closed || !handler_) return;
  const std::string rest = std::exchange(kept, {});
  const auto data = exact_copy(rest);
  input_ = {data.get(), rest.size()};
  in_callback_ = true;
  goes_on_writing = handler_->on_end(*this, input_);
  in_callback_ = false;
  input_ = {};
  require(reserved_ == nullptr, "on_end left a reservation without a commit");
  if (!goes_on_writing) closed = true;
}

void FakeStream::read_all() {
  waiting = 0;
  if (closed || !handler_) return;
  in_callback_ = true;
  handler_->on_sent(*this);
  in_callback_ = false;
}

void FakeStream::close_now(NetError why) {
  closed = true;
  if (StreamHandler* handler = std::exchange(handler_, nullptr)) handler->on_close(*this, why);
}

void FakeStream::may_write() const noexcept {
  require(!closed, "output after the end of the session");
  require(reserved_ == nullptr, "a call between reserve and commit");
}

bool FakeStream::admit(std::size_t bytes) noexcept {
  may_write();
  require(in_callback_, "admit outside of a callback");
  if (admit_next == 0) {
    ++refused_to_admit;
    refused_admission_ = true;
    return false;
  }
  if (admit_next != kNoLimit) --admit_next;
  admitted.push_back(bytes);
  return true;
}

void FakeStream::write(std::span<const std::byte> data) noexcept {
  may_write();
  if (!is_view_of(data, input_)) copied += data.size();
  output.append(as_text(data));
}

std::byte* FakeStream::reserve(std::size_t size) noexcept {
  may_write();
  reserved_ = std::make_unique_for_overwrite<std::byte[]>(size);
  reserved_size_ = size;
  return reserved_.get();
}

void FakeStream::commit(std::size_t used) noexcept {
  require(reserved_ != nullptr, "commit without reserve");
  require(used <= reserved_size_, "commit of more than was reserved");
  output.append(as_text({reserved_.get(), used}));
  copied += used;
  reserved_.reset();
}

void FakeStream::close() noexcept {
  may_write();
  closed = true;
}

void FakeStream::refuse(Refusal reason) noexcept {
  may_write();
  refusal = reason;
  closed = true;
}

// ---- Datagram peer -------------------------------------------------------------------------------------------

void FakePeer::send(Service& service, std::string_view bytes) {
  const auto data = exact_copy(bytes);
  input_ = {data.get(), bytes.size()};
  service.on_datagram(*this, input_);
  input_ = {};
}

void FakePeer::reply(std::span<const std::byte> data) noexcept {
  replies.emplace_back(as_text(data));
  replied_with_view = is_view_of(data, input_);
}

// ---- Options -------------------------------------------------------------------------------------------------

FakeOptions& FakeOptions::set(std::string_view key, std::string_view text) {
  find(key);
  values_.insert_or_assign(std::string(key), std::string(text));
  return *this;
}

FakeOptions& FakeOptions::set_hook(std::string_view name) {
  require(declares_hook(descriptor_, name), "no such hook:", name);
  hooks_.emplace_back(name);
  return *this;
}

const Option& FakeOptions::find(std::string_view key) const noexcept {
  const auto found = std::ranges::find(descriptor_.options, key, &Option::key);
  require(found != descriptor_.options.end(), "no such option:", key);
  return *found;
}

std::string_view FakeOptions::value(const Option& option) const noexcept {
  const auto found = values_.find(option.key);
  return found != values_.end() ? std::string_view(found->second) : option.fallback;
}

bool FakeOptions::has(std::string_view key) const noexcept {
  find(key);
  return values_.contains(key);
}

bool FakeOptions::boolean(std::string_view key) const noexcept {
  const Option& option = find(key);
  require(option.type == OptionType::boolean, "not a boolean:", key);
  return value(option) == "true";
}

std::int64_t FakeOptions::integer(std::string_view key) const noexcept {
  const Option& option = find(key);
  require(option.type == OptionType::integer || option.type == OptionType::size, "not an integer:", key);
  const auto parsed = parse_size(value(option));
  require(parsed.has_value(), "not a size:", value(option));
  require(static_cast<double>(*parsed) >= option.min && static_cast<double>(*parsed) <= option.max,
          "out of range:", key);
  return *parsed;
}

double FakeOptions::number(std::string_view key) const noexcept {
  const Option& option = find(key);
  require(option.type == OptionType::number || option.type == OptionType::rate, "not a number:", key);
  const auto parsed = parse_rate(value(option));
  require(parsed.has_value(), "not a rate:", value(option));
  return *parsed;
}

Duration FakeOptions::duration(std::string_view key) const noexcept {
  const Option& option = find(key);
  require(option.type == OptionType::duration, "not a duration:", key);
  const auto parsed = parse_duration(value(option));
  require(parsed.has_value(), "not a duration:", value(option));
  return *parsed;
}

std::string_view FakeOptions::text(std::string_view key) const noexcept {
  const Option& option = find(key);
  require(option.type == OptionType::text || option.type == OptionType::choice || option.type == OptionType::address ||
              option.type == OptionType::target,
          "not a text:", key);
  return value(option);
}

// No plugin with lists or tables is tested with these yet.
std::size_t FakeOptions::count(std::string_view key) const noexcept {
  require(find(key).list, "not a list:", key);
  return has(key) ? 1 : 0;
}
std::string_view FakeOptions::text_at(std::string_view key, std::size_t index) const noexcept {
  require(index < count(key), "not so many in the list:", key);
  return value(find(key));
}
const Options& FakeOptions::table(std::string_view key) const noexcept {
  require(false, "FakeOptions has no tables:", key);
  return *this;
}
const Options& FakeOptions::table_at(std::string_view key, std::size_t) const noexcept { return table(key); }

bool FakeOptions::has_hook(std::string_view name) const noexcept {
  require(declares_hook(descriptor_, name), "no such hook:", name);
  return std::ranges::find(hooks_, name) != hooks_.end();
}

bool FakeProblems::has(std::string_view key) const noexcept {
  return std::ranges::any_of(all, [&](const auto& problem) { return problem.first == key; });
}

// ---- Context -------------------------------------------------------------------------------------------------

FakeHook& FakeContext::set_hook(std::string_view name, FakeHook::Function function) {
  return hooks_.emplace(std::string(name), FakeHook(std::move(function))).first->second;
}

std::uint64_t FakeContext::counted(std::string_view counter) const noexcept {
  const auto found = std::ranges::find(descriptor_.counters, counter, &CounterDeclaration::name);
  require(found != descriptor_.counters.end(), "no such counter:", counter);
  return counts[static_cast<std::size_t>(found - descriptor_.counters.begin())];
}

void FakeContext::count(std::size_t counter, std::uint64_t by) noexcept {
  require(counter < counts.size(), "a counter that is not declared");
  counts[counter] += by;
}

Hook* FakeContext::hook(std::string_view name) noexcept {
  require(declares_hook(descriptor_, name), "no such hook:", name);
  const auto found = hooks_.find(name);
  return found != hooks_.end() ? &found->second : nullptr;
}

std::unique_ptr<Service> make_service(const Descriptor& descriptor, Context& context, const Options& options) {
  FakeProblems problems;
  return std::unique_ptr<Service>(descriptor.make(context, options, problems));
}

}  // namespace portolan::testing
