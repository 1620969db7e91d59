// Files of the seed format over a link that loses, doubles, reorders and adds nonsense: between engines of ours, and
// between each and the plain peers that the format allows.
#include "rudp/seed_file.h"

#include "seed_link.h"

#include <cerrno>
#include <string>

#include "support/cmocka.h"

using namespace portolan;
using namespace portolan::rudp;
using namespace portolan::rudp::testing;

namespace {

struct MemorySource final : SeedFileSource {
  explicit MemorySource(Bytes content) : bytes(std::move(content)) {}
  std::expected<std::size_t, int> read(std::span<std::byte> into) noexcept override {
    if (at >= fails_at) return std::unexpected(EIO);
    const std::size_t size = std::min(into.size(), bytes.size() - at);
    std::copy_n(bytes.begin() + static_cast<std::ptrdiff_t>(at), size, into.begin());
    at += size;
    return size;
  }
  Bytes bytes;
  std::size_t at = 0;
  std::size_t fails_at = SIZE_MAX;
};

struct MemorySink final : SeedFileSink {
  bool begin() noexcept override {
    if (refuses) return false;
    current.clear();
    return true;
  }
  bool write(std::span<const std::byte> block) noexcept override {
    if (current.size() + block.size() > most) return false;
    current.insert(current.end(), block.begin(), block.end());
    return true;
  }
  bool finish() noexcept override {
    files.push_back(current);
    return true;
  }
  void abandon() noexcept override { ++abandoned; }
  bool refuses = false;
  std::size_t most = SIZE_MAX;
  Bytes current;
  std::vector<Bytes> files;
  int abandoned = 0;
};

Bytes content(std::size_t size, std::mt19937_64& random) {
  Bytes bytes(size);
  for (std::byte& one : bytes) one = static_cast<std::byte>(random());
  return bytes;
}

std::vector<Bytes> blocks_of(const Bytes& file) {
  std::vector<Bytes> blocks;
  for (std::size_t at = 0; at < file.size(); at += kSeedBlock)
    blocks.emplace_back(file.begin() + static_cast<std::ptrdiff_t>(at),
                        file.begin() + static_cast<std::ptrdiff_t>(std::min(at + kSeedBlock, file.size())));
  return blocks;
}

Bytes joined(const std::vector<Bytes>& blocks) {
  Bytes file;
  for (const Bytes& one : blocks) file.insert(file.end(), one.begin(), one.end());
  return file;
}

// Of sizes at which something could be off by one, and others.
Bytes any_content(std::uint64_t seed, std::mt19937_64& random) {
  constexpr std::size_t kSizes[] = {0, 1, kSeedBlock - 1, kSeedBlock, kSeedBlock + 1, 2 * kSeedBlock};
  return content(seed % 8 < std::size(kSizes) ? kSizes[seed % 8] : random() % 200'000, random);
}

LinkOptions bad_link(std::mt19937_64& random, bool reorders = true) {
  const auto upto = [&](double most) { return std::uniform_real_distribution<>(0, most)(random); };
  return {.loss = upto(0.3),
          .twice = upto(0.2),
          .junk = upto(0.2),
          .delay = Duration(1 + random() % 50'000'000),
          .jitter = reorders && random() % 2 == 0 ? Duration(random() % 30'000'000) : 0ns};
}

Bytes packet(SeedKind kind, std::uint32_t sequence, std::string_view text = {}) {
  Bytes datagram(kSeedHeader);
  write_seed_header(SeedFormat::files, kind, sequence, datagram.data());
  const auto payload = std::as_bytes(std::span(text));
  datagram.insert(datagram.end(), payload.begin(), payload.end());
  return datagram;
}

void files_arrive_whole_and_once(void**) {
  for (std::uint64_t seed = 0; seed < 300; ++seed) {
    std::mt19937_64 random(seed);
    World world(bad_link(random), bad_link(random), SeedFormat::files, seed);
    MemorySource source(any_content(seed, random));
    MemorySink sink;
    const std::uint32_t first = seed % 3 == 0 ? 0U : seed % 3 == 1 ? 1U : -20U;
    SeedFileSender sender({.max_window = 64, .first_sequence = first}, source);
    SeedFileReceiver::Options options{.window = 32};
    if (first > 1 || source.bytes.empty()) options.first_sequence = first;
    SeedFileReceiver receiver(options, sink);
    if (!world.run(party_of(sender), party_of(receiver), [&] { return sender.done(); }))
      fail_msg("seed %llu: stuck after %llu blocks", static_cast<unsigned long long>(seed),
               static_cast<unsigned long long>(receiver.stats().blocks));
    // What is still on its way changes nothing.
    world.run(party_of(sender), party_of(receiver), [] { return false; });
    if (sink.files.size() != 1 || sink.files[0] != source.bytes || sink.abandoned != 0)
      fail_msg("seed %llu: %zu files of %zu bytes", static_cast<unsigned long long>(seed), sink.files.size(),
               source.bytes.size());
    assert_int_equal(sender.bytes_acknowledged(), source.bytes.size());
    assert_int_equal(receiver.reorder().kept_bytes(), 0);
    assert_true(receiver.phase() == SeedFileReceiver::Phase::finished);
  }
}

void plain_receivers_lose_nothing(void**) {
  for (const Strict strict :
       {Strict::expected_only, Strict::acknowledges_all, Strict::unlike_the_last, Strict::beyond_the_last}) {
    for (std::uint64_t seed = 0; seed < 60; ++seed) {
      std::mt19937_64 random(seed);
      // Nonsense on the way there would be a block to them, and who only looks at the last number has to get all in
      // order.
      LinkOptions there = bad_link(random, strict != Strict::unlike_the_last);
      there.junk = 0;
      World world(there, bad_link(random), SeedFormat::files, seed);
      MemorySource source(content(random() % 60'000, random));
      const std::uint32_t first = seed % 2 == 0 ? 0 : -20U;
      SeedFileSender sender({.first_sequence = first}, source);
      StrictReceiver receiver(SeedFormat::files, strict, first);
      assert_true(world.run(party_of(sender), party_of(receiver), [&] { return sender.done(); }));
      assert_true(receiver.finished && joined(receiver.taken) == source.bytes);
      assert_int_equal(sender.window().window(), 1);
    }
  }
}

void plain_senders_are_received_whole(void**) {
  for (const std::size_t window : {1, 16}) {
    for (std::uint64_t seed = 0; seed < 150; ++seed) {
      std::mt19937_64 random(seed);
      LinkOptions back = bad_link(random);
      back.junk = 0;  // an acknowledgement of anything is one to them
      World world(bad_link(random), back, SeedFormat::files, seed);
      const Bytes file = any_content(seed, random);
      const std::uint32_t first = seed % 2 == 0 ? 0 : -30U;
      StrictSender sender(SeedFormat::files, first, blocks_of(file), window);
      MemorySink sink;
      SeedFileReceiver::Options options{.window = 32};
      if (first != 0 || window > 1) options.first_sequence = first;
      SeedFileReceiver receiver(options, sink);
      assert_true(world.run(party_of(sender), party_of(receiver), [&] { return sender.done(); }));
      world.run(party_of(sender), party_of(receiver), [] { return false; });
      assert_true(sink.files == std::vector<Bytes>{file});
    }
  }
}

// Each of three files behind the other, from the same address and under the same numbers; twice the same one.
void files_follow_each_other(void**) {
  for (std::uint64_t seed = 0; seed < 100; ++seed) {
    std::mt19937_64 random(seed);
    World world({.loss = 0.2, .twice = 0.1, .delay = 10ms}, SeedFormat::files, seed);
    MemorySink sink;
    SeedFileReceiver receiver({}, sink);
    const Bytes file = content(1 + random() % 30'000, random);
    const Bytes other = content(1 + random() % 30'000, random);
    for (const Bytes& one : {file, file, other}) {
      MemorySource source(one);
      SeedFileSender sender({}, source);
      assert_true(world.run(party_of(sender), party_of(receiver), [&] { return sender.done(); }));
    }
    assert_true(sink.files == std::vector<Bytes>({file, file, other}));
  }
}

constexpr double kMegabit = 1e6 / 8;  // bytes

// The rate follows the path: it neither starves by loss nor fills the queue.
void a_lossy_path_is_used_well(void**) {
  constexpr std::size_t kSize = 12'000'000;
  struct {
    double loss;
    Duration delay;
    double least;  // of 50 Mbit/s
  } const cases[] = {{0, 10ms, 0.85}, {0.05, 10ms, 0.75}, {0.01, 50ms, 0.5}};
  for (const auto& test : cases) {
    const LinkOptions link{.loss = test.loss, .delay = test.delay, .bytes_per_second = 50 * kMegabit};
    World world(link, SeedFormat::files, 7);
    MemorySource source(content(kSize, world.random));
    MemorySink sink;
    SeedFileSender sender({}, source);
    SeedFileReceiver receiver({}, sink);
    const Duration began = world.now;
    assert_true(world.run(party_of(sender), party_of(receiver), [&] { return sender.done(); }));
    assert_true(sink.files == std::vector<Bytes>{source.bytes});
    const double share = kSize / std::chrono::duration<double>(world.now - began).count() / (50 * kMegabit);
    const double wire = static_cast<double>(world.there_link.bytes) / kSize;
    print_message("loss %.2f, round trip %d ms: %.1f Mbit/s of 50, %.3f bytes sent for each of the file\n", test.loss,
                  static_cast<int>(2 * test.delay / 1ms), share * 50, wire);
    // A lost acknowledgement costs a packet, too.
    assert_true(share > test.least && wire < 1.06 / ((1 - test.loss) * (1 - test.loss)));
  }
}

// The least round trip is looked for again now and then: a longer way needs a larger window.
void a_path_that_becomes_longer_is_filled_again(void**) {
  World world({.delay = 10ms, .bytes_per_second = 10 * kMegabit}, SeedFormat::files, 1);
  MemorySource source(content(24'000'000, world.random));  // 20 s at best
  MemorySink sink;
  SeedFileSender sender({}, source);
  SeedFileReceiver receiver({}, sink);
  assert_true(world.run(party_of(sender), party_of(receiver), [&] { return world.now > 2s; }));
  world.there_link.options.delay = world.back_link.options.delay = 30ms;
  assert_true(world.run(party_of(sender), party_of(receiver), [&] { return sender.done(); }));
  print_message("%.1f s\n", std::chrono::duration<double>(world.now).count());
  assert_true(world.now < 30s);
}

void the_fin_leaves_when_all_blocks_are_acknowledged(void**) {
  MemorySource source(Bytes(2 * kSeedBlock));
  SeedFileSender sender({.ask = false, .window = 8}, source);
  const auto next = [&] {
    const auto parsed = parse_seed(SeedFormat::files, sender.next_datagram(1s));
    return parsed ? std::optional(std::pair(parsed->kind, parsed->sequence)) : std::nullopt;
  };
  assert_true(next() == std::pair(SeedKind::data, 0U));
  assert_true(next() == std::pair(SeedKind::data, 1U));
  sender.receive(packet(SeedKind::acknowledgement, 1), 1s);
  assert_false(next().has_value());
  sender.receive(packet(SeedKind::acknowledgement, 0), 1s);
  assert_true(next() == std::pair(SeedKind::fin, 2U));
  assert_false(next().has_value() || sender.done());
  sender.receive(packet(SeedKind::acknowledgement, 2), 1s);
  assert_true(sender.done());
}

void a_file_that_cannot_be_read_fails_with_the_reason(void**) {
  MemorySource source(Bytes(5000));
  source.fails_at = 2 * kSeedBlock;
  SeedFileSender sender({}, source);
  assert_false(sender.next_datagram(1s).empty());
  sender.receive(packet(SeedKind::acknowledgement, 0), 1s);
  assert_true(sender.next_datagram(1s).empty());
  assert_true(sender.failure() == "the file could not be read: Input/output error");
  assert_false(sender.deadline().has_value() || sender.done());
}

struct Replies {
  explicit Replies(SeedFileReceiver::Options options = {}) : receiver(options, sink) {}
  // The numbers that it acknowledges.
  std::vector<std::uint32_t> operator()(const Bytes& datagram) {
    receiver.receive(datagram, now);
    std::vector<std::uint32_t> numbers;
    for (auto reply = receiver.next_datagram(); !reply.empty(); reply = receiver.next_datagram()) {
      const auto parsed = parse_seed(SeedFormat::files, reply);
      assert_true(parsed && parsed->kind == SeedKind::acknowledgement && parsed->payload.empty());
      numbers.push_back(parsed->sequence);
    }
    return numbers;
  }
  std::vector<std::string> files() const {
    std::vector<std::string> texts;
    for (const Bytes& one : sink.files) texts.emplace_back(reinterpret_cast<const char*>(one.data()), one.size());
    return texts;
  }
  Duration now = 1s;
  MemorySink sink;
  SeedFileReceiver receiver;
};

using Numbers = std::vector<std::uint32_t>;
using Texts = std::vector<std::string>;
constexpr auto kData = SeedKind::data;
constexpr auto kFin = SeedKind::fin;

void a_fin_waits_for_the_blocks_before_it(void**) {
  Replies reply;
  assert_true(reply(packet(kData, 0, "a")) == Numbers{0});
  assert_true(reply(packet(kData, 2, "c")) == Numbers{2});
  assert_true(reply(packet(kFin, 1)).empty());  // of a file that has more blocks: nonsense
  assert_true(reply(packet(kFin, 3)).empty());
  assert_true(reply.files().empty());
  assert_true(reply(packet(kData, 1, "b")) == Numbers({1, 3}));
  assert_true(reply.files() == Texts{"abc"});
  for (int i = 0; i < 3; ++i, reply.now += 200ms) assert_true(reply(packet(kFin, 3)) == Numbers{3});
  assert_true(reply(packet(kData, 2, "c")) == Numbers{2});
  assert_true(reply.files().size() == 1);
}

void a_fin_may_have_the_last_number_or_after_a_while_any(void**) {
  Replies last;
  last(packet(kData, 0, "a"));
  last(packet(kData, 1, "b"));
  assert_true(last(packet(kFin, 1)) == Numbers{1});
  assert_true(last.files() == Texts{"ab"});
  for (const std::uint32_t number : {0U, 70'000U, UINT32_MAX}) {
    Replies any;
    for (std::uint32_t i = 0; i < 3; ++i) any(packet(kData, i, "x"));
    assert_true(any(packet(kFin, number)).empty());
    any.now += 200ms;
    assert_true(any(packet(kFin, number)) == Numbers{number});
    assert_true(any.files() == Texts{"xxx"});
  }
}

void the_rest_of_a_file_is_no_file(void**) {
  Replies reply;
  for (int i = 0; i < 3; ++i, reply.now += 200ms) {
    assert_true(reply(packet(kData, 5, "f")).empty());
    assert_true(reply(packet(kFin, 6)).empty());
    assert_true(reply(packet(kFin, 1)).empty());
  }
  assert_true(reply.files().empty());
  assert_true(reply(packet(kData, 1, "a")) == Numbers{1});  // some begin with 1
  assert_true(reply(packet(kFin, 2)) == Numbers{2});
  assert_true(reply.files() == Texts{"a"});
  Replies empty;
  assert_true(empty(packet(kFin, 0)) == Numbers{0});
  assert_true(empty.files() == Texts{""});
}

void what_begins_another_file(void**) {
  Replies reply;
  const auto send = [&](std::uint32_t first, const char* text) {
    assert_true(reply(packet(kData, first, text)) == Numbers{first});
    assert_true(reply(packet(kFin, first + 1)) == Numbers{first + 1});
  };
  send(0, "a");
  send(0, "b");  // other bytes
  send(2, "c");  // the number behind the fin
  send(0, "c");
  // The same again: a straggler, until it is repeated.
  assert_true(reply(packet(kData, 0, "c")).empty());
  assert_true(reply(packet(kData, 0, "c")).empty());
  reply.now += 200ms;
  send(0, "c");
  reply.now += SeedFileReceiver::kQuiet;
  send(0, "c");  // there are no stragglers any more
  assert_true(reply.files() == Texts({"a", "b", "c", "c", "c", "c"}));
  assert_int_equal(reply.sink.abandoned, 0);
}

void a_sender_that_restarts_begins_another_file(void**) {
  for (const bool long_file : {false, true}) {
    Replies reply({.window = 8});
    const std::uint32_t count = long_file ? 100 : 3;
    for (std::uint32_t i = 0; i < count; ++i) reply(packet(kData, i, "old"));
    const char* text = long_file ? "old" : "new";
    assert_true(reply(packet(kData, 0, text)).empty());
    reply.now += 200ms;
    assert_true(reply(packet(kData, 0, text)) == Numbers{0});
    assert_int_equal(reply.sink.abandoned, 1);
    // What is left of the former file is not taken for blocks of this one.
    assert_true(reply(packet(kData, 2, "old")).empty());
    assert_true(reply(packet(kData, 1, "!")) == Numbers{1});
    assert_true(reply(packet(kFin, 2)) == Numbers{2});
    assert_true(reply.files() == Texts{std::string(text) + "!"});
  }
}

void a_refused_file_is_not_answered(void**) {
  Replies reply;
  reply.sink.most = 3;
  assert_true(reply(packet(kData, 0, "ab")) == Numbers{0});
  for (int i = 0; i < 3; ++i, reply.now += 200ms) {
    assert_true(reply(packet(kData, 1, "cd")).empty());
    assert_true(reply(packet(kFin, 2)).empty());
  }
  assert_true(reply.receiver.phase() == SeedFileReceiver::Phase::refused);
  reply.sink.refuses = true;
  assert_true(reply(packet(kData, 0, "x")).empty());
  reply.sink.refuses = false;
  assert_true(reply(packet(kData, 0, "y")) == Numbers{0});
  assert_true(reply(packet(kFin, 1)) == Numbers{1});
  assert_true(reply.files() == Texts{"y"});
}

void nonsense_is_not_answered(void**) {
  Replies reply;
  for (std::size_t size = 0; size < kSeedHeader; ++size) assert_true(reply(Bytes(size, std::byte{1})).empty());
  for (const int type : {0, 4, 255}) {
    Bytes unknown = packet(kData, 0, "x");
    unknown[0] = static_cast<std::byte>(type);
    assert_true(reply(unknown).empty());
  }
  assert_true(reply(packet(SeedKind::acknowledgement, 0)).empty());
  assert_true(reply(packet(kData, 0, std::string(kSeedBlock + 1, 'x'))).empty());
  assert_true(reply.receiver.phase() == SeedFileReceiver::Phase::waiting);
  assert_true(reply(packet(kData, 0, std::string(kSeedBlock, 'x'))) == Numbers{0});
  assert_int_equal(reply.receiver.stats().unanswered, 10);
}

}  // namespace

int main() {
  const CMUnitTest tests[] = {
      cmocka_unit_test(files_arrive_whole_and_once),
      cmocka_unit_test(plain_receivers_lose_nothing),
      cmocka_unit_test(plain_senders_are_received_whole),
      cmocka_unit_test(files_follow_each_other),
      cmocka_unit_test(a_lossy_path_is_used_well),
      cmocka_unit_test(a_path_that_becomes_longer_is_filled_again),
      cmocka_unit_test(the_fin_leaves_when_all_blocks_are_acknowledged),
      cmocka_unit_test(a_file_that_cannot_be_read_fails_with_the_reason),
      cmocka_unit_test(a_fin_waits_for_the_blocks_before_it),
      cmocka_unit_test(a_fin_may_have_the_last_number_or_after_a_while_any),
      cmocka_unit_test(the_rest_of_a_file_is_no_file),
      cmocka_unit_test(what_begins_another_file),
      cmocka_unit_test(a_sender_that_restarts_begins_another_file),
      cmocka_unit_test(a_refused_file_is_not_answered),
      cmocka_unit_test(nonsense_is_not_answered),
  };
  return cmocka_run_group_tests(tests, nullptr, nullptr);
}
