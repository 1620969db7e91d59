// A sender and a receiver against each other, with files: what arrives, and what becomes of it when a side dies.
#include "transfer/path_name.h"
#include "support/temporary_folder.h"
#include "support/waiting.h"

#include "core/transfer/pair.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstring>
#include <filesystem>

#include "support/cmocka.h"

using namespace portolan;
using namespace portolan::testing;

namespace {

// What a connection sends of its first file before the receiver has answered, in vain where that has some of it.
constexpr std::uint64_t kUnasked = 16 * 1024;

struct Fixture {
  TemporaryFolder from, to;
  std::unique_ptr<ReceiveFolder> folder;
  SourceTree tree;
  std::unique_ptr<Pair> pair;

  void receive_with(const ReceiveOptions& options = {}) {
    pair.reset();
    auto opened = ReceiveFolder::open(to.path(), options, false);
    if (!opened) fail_msg("%s", opened.error().c_str());
    folder = std::move(*opened);
  }
  Pair& send(const std::vector<std::string>& names, unsigned seed = 1) {
    std::vector<std::string> paths;
    for (const std::string& name : names) paths.push_back(from.file(name));
    auto walked = walk(paths, {});
    if (!walked) fail_msg("%s", walked.error().message.c_str());
    tree = std::move(*walked);
    if (!folder) receive_with();
    pair = std::make_unique<Pair>(tree, *folder, seed);
    return *pair;
  }
  std::string received(std::string_view name) const { return read_whole_file(to.file(name)); }
};

Fixture& fixture(void** state) { return *static_cast<Fixture*>(*state); }
int set_up(void** state) {
  *state = new Fixture;
  return 0;
}
int tear_down(void** state) {
  delete static_cast<Fixture*>(*state);
  return 0;
}

std::string noise(std::size_t size, std::uint32_t seed = 12345) {
  std::string text(size, '\0');
  for (char& byte : text) {
    seed = seed * 1664525U + 1013904223U;
    byte = static_cast<char>(seed >> 24U);
  }
  return text;
}

void expect_finished(Pair& pair) {
  if (!pair.sender().failure().empty()) fail_msg("the sender: %s", pair.sender().failure().c_str());
  if (!pair.receiver().failure().empty()) fail_msg("the receiver: %s", pair.receiver().failure().c_str());
  assert_true(pair.sender().finished());
  assert_true(pair.receiver().finished());
}

void expect_outcome(const Pair& pair, const std::string& path, Outcome outcome, std::string_view text = {}) {
  const auto found = pair.heard.outcomes.find(path);
  if (found == pair.heard.outcomes.end()) fail_msg("%s has no result", path.c_str());
  const std::string said = pair.heard.texts.at(path);
  if (found->second != outcome || said.find(text) == std::string::npos) {
    fail_msg("%s: %s: %s", path.c_str(), to_string(found->second).data(), said.c_str());
  }
}

std::size_t names_in(const std::string& folder) {
  std::size_t count = 0;
  for ([[maybe_unused]] const auto& one : std::filesystem::recursive_directory_iterator(folder)) ++count;
  return count;
}

void a_folder_arrives_as_it_is(void** state) {
  Fixture& f = fixture(state);
  std::filesystem::create_directories(f.from.file("tree/a/b"));
  f.from.write("tree/one", noise(300'000));
  f.from.write("tree/a/empty", "");
  const std::string tool = f.from.write("tree/a/b/tool", "#!/bin/sh\n");
  assert_int_equal(::chmod(tool.c_str(), 0750), 0);
  assert_int_equal(::chmod(f.from.file("tree/a").c_str(), 0711), 0);
  const UniqueFd file(::open(tool.c_str(), O_RDONLY));
  assert_true(set_modified(file.get(), 1'000'000'000, 500'000'000));
  const UniqueFd folder(::open(f.from.file("tree/a").c_str(), O_RDONLY));
  assert_true(set_modified(folder.get(), 1'100'000'000, 0));

  Pair& pair = f.send({"tree"});
  pair.run();
  expect_finished(pair);
  assert_true(f.received("tree/one") == noise(300'000));
  assert_string_equal(f.received("tree/a/empty").c_str(), "");
  const auto status = file_status(f.to.file("tree/a/b/tool"));
  assert_int_equal(status->mode & 07777, 0750);
  assert_int_equal(status->modified_seconds, 1'000'000'000);
  assert_int_equal(status->modified_nanoseconds, 500'000'000);
  assert_int_equal(file_status(f.to.file("tree/a"))->mode & 07777, 0711);
  assert_int_equal(file_status(f.to.file("tree/a"))->modified_seconds, 1'100'000'000);
  assert_int_equal(names_in(f.to.path()), 6);
  // What the receiver says of a file is what sha256sum says.
  assert_string_equal(pair.host.hashes["tree/a/empty"].c_str(),
                      "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
}

void many_small_files_need_no_round_trip_each(void** state) {
  Fixture& f = fixture(state);
  std::filesystem::create_directories(f.from.file("many"));
  for (int i = 0; i < 2000; ++i) f.from.write(fmt::format("many/{}", i), fmt::format("file {}", i));
  Pair& pair = f.send({"many"});
  pair.run();
  expect_finished(pair);
  for (const int i : {0, 777, 1999}) {
    assert_string_equal(f.received(fmt::format("many/{}", i)).c_str(), fmt::format("file {}", i).c_str());
  }
  assert_int_equal(names_in(f.to.path()), 2001);
}

void a_transfer_that_is_killed_goes_on_where_it_was(void** state) {
  Fixture& f = fixture(state);
  const std::size_t size = 12'000'000;
  f.from.write("big", noise(size));
  for (unsigned seed = 1; seed <= 5; ++seed) {
    f.receive_with();
    Pair& pair = f.send({"big"}, seed);
    pair.window = 16 * 1024;
    std::minstd_rand random(seed);
    std::uint64_t twice = 0;
    for (int kill = 0; kill < 10; ++kill) {
      const std::uint64_t until = size / 11 * static_cast<unsigned>(kill) + random() % (size / 11);
      const std::uint64_t base = pair.sender().state().kept;
      pair.run([&] { return base + pair.receiver().new_bytes() >= until; });
      if (kill % 2 == 0) {
        // The sender alone: what is under way still comes in.
        pair.let_sender_die();
        while (pair.turn()) {
        }
      }
      pair.connect();
    }
    pair.run();
    expect_finished(pair);
    assert_true(f.received("big") == noise(size));
    twice = pair.data_sent - size;
    print_message("seed %u: %.2f %% twice\n", seed, 100.0 * static_cast<double>(twice) / static_cast<double>(size));
    assert_true(twice * 100 <= 3 * size);
    assert_int_equal(names_in(f.to.path()), 1);
    std::filesystem::remove(f.to.file("big"));
  }
}

// Wherever it ends: at every so many turns, with several files of several sizes.
void it_may_die_at_any_moment(void** state) {
  Fixture& f = fixture(state);
  std::filesystem::create_directories(f.from.file("t/below"));
  f.from.write("t/a", noise(70'000, 1));
  f.from.write("t/b", noise(1'500'000, 2));
  f.from.write("t/below/c", "c");
  f.from.write("t/below/d", "");
  for (int turns = 0; turns < 150; turns += 3) {
    f.receive_with();
    Pair& pair = f.send({"t"}, static_cast<unsigned>(turns + 1));
    pair.most_at_once = 30'000;
    // It dies at this turn, then at twice as many, and so on, until it comes through.
    for (int life = turns + 1; !pair.ended() && life < 100'000; life *= 2) {
      int left = life;
      pair.run([&] { return left-- == 0; });
      if (!pair.ended()) pair.connect();
    }
    pair.run();
    expect_finished(pair);
    assert_true(f.received("t/a") == noise(70'000, 1));
    assert_true(f.received("t/b") == noise(1'500'000, 2));
    assert_string_equal(f.received("t/below/c").c_str(), "c");
    // A life that ended while its file was put into place may leave a partial one, which goes after keep_partial.
    assert_in_range(names_in(f.to.path()), 6, 7);
    std::filesystem::remove_all(f.to.path());
    std::filesystem::create_directory(f.to.path());
  }
}

void what_was_lost_of_a_partial_file_is_sent_again(void** state) {
  Fixture& f = fixture(state);
  f.from.write("big", noise(5'000'000));
  // As after a power cut: the third megabyte is not what was written.
  std::string part = noise(5'000'000).substr(0, 4'200'000);
  part.replace(2'500'000, 4096, std::string(4096, '\0'));
  f.to.write(partial_name("big"), part);
  Pair& pair = f.send({"big"});
  pair.run();
  expect_finished(pair);
  assert_true(f.received("big") == noise(5'000'000));
  assert_int_equal(pair.data_sent, 5'000'000 - 2 * 1024 * 1024 + kUnasked);
  assert_non_null(strstr(pair.heard.notes["big"].c_str(), "2097152 are of this version"));
}

void a_file_of_another_version_is_sent_anew(void** state) {
  Fixture& f = fixture(state);
  f.from.write("f", noise(3'000'000, 1));
  f.to.write(partial_name("f"), noise(4'000'000, 2));
  Pair& pair = f.send({"f"});
  pair.run();
  expect_finished(pair);
  assert_true(f.received("f") == noise(3'000'000, 1));
  assert_int_equal(pair.data_sent, 3'000'000 + kUnasked);
}

void a_file_that_changes_while_it_is_sent_is_sent_again(void** state) {
  Fixture& f = fixture(state);
  f.from.write("f", noise(2'000'000, 1));
  Pair& pair = f.send({"f"});
  pair.run([&] { return pair.receiver().new_bytes() > 500'000; });
  f.from.write("f", noise(2'100'000, 1).replace(10, 4, "anew"));
  // The one that is open is still whole: written in place, it is not.
  const UniqueFd file(::open(f.from.file("f").c_str(), O_WRONLY));
  pair.run([&] { return pair.ended(); });
  expect_finished(pair);
  assert_true(f.received("f") == noise(2'000'000, 1));

  f.from.write("g", noise(2'000'000, 1));
  Pair& second = f.send({"g"});
  second.run([&] { return second.receiver().new_bytes() > 500'000; });
  const UniqueFd written(::open(f.from.file("g").c_str(), O_WRONLY));
  assert_int_equal(::pwrite(written.get(), "anew", 4, 10), 4);
  second.run();
  expect_finished(second);
  assert_true(f.received("g") == noise(2'000'000, 1).replace(10, 4, "anew"));
  assert_non_null(strstr(second.heard.notes["g"].c_str(), "it has changed: it is sent anew"));
}

void what_is_there_already_is_not_sent(void** state) {
  Fixture& f = fixture(state);
  f.from.write("same", noise(2'000'000));
  f.to.write("same", noise(2'000'000));
  Pair& pair = f.send({"same"});
  pair.run();
  expect_finished(pair);
  expect_outcome(pair, "same", Outcome::identical);
  assert_int_equal(pair.data_sent, kUnasked);
  assert_int_equal(pair.sender().state().kept, 2'000'000);
}

void another_file_of_the_name_is_treated_as_the_receiver_says(void** state) {
  Fixture& f = fixture(state);
  f.from.write("f.txt", "the new one");
  for (const char* old : {"the old one", "older"}) {  // of the same size, and not
    const struct {
      Existing existing;
      Outcome outcome;
      const char* stays;
    } cases[] = {{Existing::refuse, Outcome::refused, old},
                 {Existing::skip, Outcome::skipped, old},
                 {Existing::replace, Outcome::received, "the new one"},
                 {Existing::rename, Outcome::received, old}};
    for (const auto& test : cases) {
      f.receive_with({.existing = test.existing});
      f.to.write("f.txt", old);
      Pair& pair = f.send({"f.txt"});
      pair.run();
      expect_finished(pair);
      expect_outcome(pair, "f.txt", test.outcome);
      assert_string_equal(f.received("f.txt").c_str(), test.stays);
      if (test.existing == Existing::rename) {
        assert_string_equal(pair.heard.texts["f.txt"].c_str(), "f (1).txt");
        assert_string_equal(f.received("f (1).txt").c_str(), "the new one");
        std::filesystem::remove(f.to.file("f (1).txt"));
      }
      assert_int_equal(names_in(f.to.path()), 1);
    }
  }
}

void holes_stay_holes(void** state) {
  Fixture& f = fixture(state);
  const std::string path = f.from.write("sparse", "");
  {
    const UniqueFd file(::open(path.c_str(), O_WRONLY));
    assert_int_equal(::ftruncate(file.get(), 40'000'000), 0);
    assert_int_equal(::pwrite(file.get(), "middle", 6, 20'000'000), 6);
    assert_int_equal(::pwrite(file.get(), "end", 3, 39'999'990), 3);
  }
  if (file_status(path)->allocated > 1'000'000) skip();  // no holes on this file system
  Pair& pair = f.send({"sparse"});
  pair.run([&] { return pair.receiver().new_bytes() > 0; });
  pair.connect();  // it dies in the middle
  pair.run();
  expect_finished(pair);
  assert_true(f.received("sparse") == read_whole_file(path));
  assert_true(file_status(f.to.file("sparse"))->allocated < 1'000'000);
  assert_true(pair.data_sent < 1'000'000);
}

void names_do_not_lead_out_of_the_folder(void** state) {
  Fixture& f = fixture(state);
  std::filesystem::create_directories(f.to.file("in"));
  const TemporaryFolder outside;
  std::filesystem::create_directory_symlink(outside.path(), f.to.file("in/link"));
  std::filesystem::create_symlink(outside.file("target"), f.to.file("file_link"));
  f.from.write("f", "content");
  for (const std::string name : {"../f", "/tmp/f", "in/../../f", "in/./f", "in//f", "", "a\nb", "in/link/f",
                                 "file_link", "in/link", "in", "f.portolan-part"}) {
    Pair& pair = f.send({"f"});
    f.tree.entries[0].path = name;
    pair.connect();
    pair.run();
    expect_finished(pair);
    expect_outcome(pair, name, Outcome::refused);
  }
  assert_int_equal(names_in(outside.path()), 0);
  assert_int_equal(names_in(f.to.path()), 3);
  // A folder that is to be made where a link is.
  Pair& pair = f.send({"f"});
  f.tree.entries[0].kind = EntryKind::directory;
  f.tree.entries[0].path = "in/link/deeper";
  pair.connect();
  pair.run();
  expect_outcome(pair, "in/link/deeper", Outcome::refused);
  assert_int_equal(names_in(outside.path()), 0);
}

void limits_are_said_with_their_numbers(void** state) {
  Fixture& f = fixture(state);
  f.from.write("a", noise(100'000));
  f.from.write("b", noise(50'000));
  const struct {
    ReceiveLimits limits;
    const char* said;  // of the whole transfer
  } cases[] = {{{.max_transfer = 149'999}, "it has 146.5KiB, and one transfer may have 146.5KiB"},
               {{.max_files = 1}, "it has 2 files, and one transfer may have 1"},
               {{.quota = 120'000}, "146.5KiB are needed, and the folder has 117.2KiB of its quota of 117.2KiB left"},
               {{.keep_free = std::uint64_t{1} << 60U}, "are free on the disk"}};
  for (const auto& test : cases) {
    f.receive_with({.limits = test.limits});
    Pair& pair = f.send({"a", "b"});
    pair.run();
    assert_true(pair.sender().refused());
    if (pair.sender().failure().find(test.said) == std::string::npos) {
      fail_msg("%s", pair.sender().failure().c_str());
    }
  }
  f.receive_with({.limits = {.max_file = 60'000}});
  Pair& pair = f.send({"a", "b"});
  pair.run();
  expect_finished(pair);
  expect_outcome(pair, "a", Outcome::refused, "a file may have");
  expect_outcome(pair, "b", Outcome::received);
  // What lies there counts.
  f.receive_with({.limits = {.quota = 60'000}});
  Pair& again = f.send({"a"});
  again.run();
  assert_true(again.sender().refused());
}

void the_host_judges_a_whole_file(void** state) {
  Fixture& f = fixture(state);
  for (const char* name : {"good", "bad", "odd", "evil"}) f.from.write(name, name);
  Pair& pair = f.send({"good", "bad", "odd", "evil"});
  int asked = 0;
  using Kind = ReceiverHost::Verdict::Kind;
  pair.host.judge = [&](const FileReport& file) -> ReceiverHost::Verdict {
    assert_true(file.sha256.size() == 64);
    if (file.path == "bad") return {Kind::refuse, "not today"};
    if (file.path == "odd") return {Kind::rename, "renamed/even"};
    if (file.path == "evil") return {Kind::rename, "../evil"};
    return ++asked < 5 ? ReceiverHost::Verdict{Kind::wait} : ReceiverHost::Verdict{};
  };
  pair.run();
  expect_finished(pair);
  assert_int_equal(asked, 5);
  expect_outcome(pair, "bad", Outcome::refused, "not today");
  expect_outcome(pair, "odd", Outcome::received, "renamed/even");
  expect_outcome(pair, "evil", Outcome::refused);
  assert_string_equal(f.received("renamed/even").c_str(), "odd");
  assert_int_equal(names_in(f.to.path()), 3);
}

// Of real time, which files take to be synced.
std::function<bool()> late() {
  return [end = std::chrono::steady_clock::now() + std::chrono::seconds(60)] {
    return std::chrono::steady_clock::now() > end;
  };
}

// The sender has said that nothing follows before it hears that something has to.
void what_is_given_up_after_the_last_word_is_no_end(void** state) {
  Fixture& f = fixture(state);
  f.from.write("a", "small");
  f.from.write("b", noise(100'000));
  Pair& pair = f.send({"a", "b"});
  pair.answers_every = std::chrono::milliseconds(50);
  for (int turn = 0; turn < 10; ++turn) pair.turn();  // the first flight
  std::filesystem::remove(f.from.file("b"));
  pair.run(late());
  expect_finished(pair);
  expect_outcome(pair, "a", Outcome::received);
  expect_outcome(pair, "b", Outcome::failed);
}

void busy_and_a_change_cross_on_their_way(void** state) {
  Fixture& f = fixture(state);
  f.from.write("big", noise(300'000));
  Pair& first = f.send({"big"});
  first.run([&] { return first.receiver().new_bytes() > 100'000; });
  SourceTree tree = *walk(std::vector{f.from.file("big")}, {});
  Pair second(tree, *f.folder);
  second.now = first.now;
  second.answers_every = std::chrono::milliseconds(50);
  f.from.write("big", noise(299'000));  // before it is opened: it is given up, and offered anew
  second.run(late());
  expect_finished(second);
  assert_true(f.received("big") == noise(299'000));
}

void a_silent_session_gives_way_to_a_new_one(void** state) {
  Fixture& f = fixture(state);
  f.from.write("big", noise(3'000'000));
  Pair& first = f.send({"big"});
  first.run([&] { return first.receiver().new_bytes() > 1'000'000; });
  SourceTree tree = *walk(std::vector{f.from.file("big")}, {});
  Pair second(tree, *f.folder);
  second.now = first.now;
  second.run([&] { return second.now > first.now + std::chrono::milliseconds(1000); });
  assert_true(first.receiver().failure().empty());  // it is waited for
  assert_int_equal(second.data_sent, kUnasked);
  second.run();
  expect_finished(second);
  assert_false(first.receiver().failure().empty());
  assert_true(f.received("big") == noise(3'000'000));
  assert_true(second.data_sent < 2'000'000 + kUnasked);
}

// What a receiver says to nonsense is a sentence, and an end.
void a_sender_that_breaks_the_protocol_is_refused(void** state) {
  Fixture& f = fixture(state);
  f.from.write("f", "content");
  const std::vector<std::vector<Message>> cases = {
      {Entry{.id = 0, .path = "f"}},
      {Hello{}, Hello{}},
      {Hello{}, Entry{.id = 1, .path = "f"}},
      {Hello{}, Data{4}},
      {Hello{}, Hole{4}},
      {Hello{}, End{}},
      {Hello{}, Begin{.id = 7}},
      {Hello{}, Bye{}},
      {Hello{}, Prefix{.id = 3, .digests = std::as_bytes(std::span("0123456789abcdef0123456789abcde"))}},
      {Hello{}, Entry{.id = 0, .size = 5, .data = 5, .path = "f"}, Begin{.id = 0, .offset = 1}},
      {Hello{}, Entry{.id = 0, .size = 5, .data = 5, .path = "f"}, Begin{.id = 0}, Hole{6}},
      {Hello{}, Entry{.id = 0, .size = 5, .data = 5, .path = "f"}, Begin{.id = 0}, End{}},
      {Hello{}, Entry{.id = 0, .size = 5, .data = 5, .path = "f"}, Begin{.id = 0}, Finish{}},
  };
  for (const auto& messages : cases) {
    Pair& pair = f.send({"f"});
    pair.let_sender_die();
    for (const Message& message : messages) append(pair.to_receiver(), message);
    while (pair.turn()) {
    }
    assert_false(pair.receiver().failure().empty());
  }
}

}  // namespace

int main() {
  const CMUnitTest tests[] = {
      cmocka_unit_test_setup_teardown(a_folder_arrives_as_it_is, set_up, tear_down),
      cmocka_unit_test_setup_teardown(many_small_files_need_no_round_trip_each, set_up, tear_down),
      cmocka_unit_test_setup_teardown(a_transfer_that_is_killed_goes_on_where_it_was, set_up, tear_down),
      cmocka_unit_test_setup_teardown(it_may_die_at_any_moment, set_up, tear_down),
      cmocka_unit_test_setup_teardown(what_was_lost_of_a_partial_file_is_sent_again, set_up, tear_down),
      cmocka_unit_test_setup_teardown(a_file_of_another_version_is_sent_anew, set_up, tear_down),
      cmocka_unit_test_setup_teardown(a_file_that_changes_while_it_is_sent_is_sent_again, set_up, tear_down),
      cmocka_unit_test_setup_teardown(what_is_there_already_is_not_sent, set_up, tear_down),
      cmocka_unit_test_setup_teardown(another_file_of_the_name_is_treated_as_the_receiver_says, set_up, tear_down),
      cmocka_unit_test_setup_teardown(holes_stay_holes, set_up, tear_down),
      cmocka_unit_test_setup_teardown(names_do_not_lead_out_of_the_folder, set_up, tear_down),
      cmocka_unit_test_setup_teardown(limits_are_said_with_their_numbers, set_up, tear_down),
      cmocka_unit_test_setup_teardown(the_host_judges_a_whole_file, set_up, tear_down),
      cmocka_unit_test_setup_teardown(what_is_given_up_after_the_last_word_is_no_end, set_up, tear_down),
      cmocka_unit_test_setup_teardown(busy_and_a_change_cross_on_their_way, set_up, tear_down),
      cmocka_unit_test_setup_teardown(a_silent_session_gives_way_to_a_new_one, set_up, tear_down),
      cmocka_unit_test_setup_teardown(a_sender_that_breaks_the_protocol_is_refused, set_up, tear_down),
  };
  return cmocka_run_group_tests(tests, nullptr, nullptr);
}
