// The small parts of a transfer: names, hashes, places, rates.
#include "transfer/path_name.h"

#include "transfer/file_hash.h"
#include "transfer/link.h"
#include "transfer/progress.h"

#include <string>

#include "support/cmocka.h"

using namespace portolan;
using namespace portolan::transfer;
using namespace std::chrono_literals;

namespace {

void paths_stay_below_the_folder(void**) {
  std::string deep = "a";
  for (int i = 1; i < 64; ++i) deep += "/a";
  for (const std::string& path : {std::string("a"), std::string("a/b.c"), std::string("..."), std::string("..a/b.."),
                                  std::string("\xff\xfe"), std::string("\xc3\xa4"), std::string(255, 'x'), deep}) {
    if (const auto checked = check_path(path); !checked) fail_msg("%s: %s", path.c_str(), checked.error().data());
  }
  std::string long_path;
  while (long_path.size() <= kMaxPath) long_path += std::string(200, 'x') + "/";
  for (const std::string& path :
       {std::string(), std::string("/"), std::string("/a"), std::string("a/"), std::string("a//b"), std::string("."),
        std::string(".."), std::string("a/.."), std::string("./a"), std::string("a/../../b"), std::string("a\0b", 3),
        std::string("a\n"), std::string("\x1b[2J"), std::string("a\x7f"), std::string(256, 'x'), deep + "/a",
        long_path + "x", std::string(".a.0123456789abcdef.portolan-part")}) {
    if (check_path(path)) fail_msg("taken: %s", path.c_str());
  }
}

void partial_names_are_hidden_short_and_of_their_own(void**) {
  assert_true(partial_name("a").starts_with(".a.") && partial_name("a").ends_with(kPartialEnding));
  assert_false(check_path(partial_name("a")).has_value());
  for (const std::size_t size : {1, 199, 200, 201, 255}) {
    assert_true(partial_name(std::string(size, 'x')).size() <= kMaxComponent);
  }
  // Two that begin alike.
  assert_false(partial_name(std::string(250, 'x')) == partial_name(std::string(251, 'x')));
  // Not cut within a character.
  std::string umlauts(1, 'x');
  while (umlauts.size() < 250) umlauts += "\xc3\xa4";
  assert_true(partial_name(umlauts).find("\xc3.") == std::string::npos);
}

void numbers_go_before_the_ending(void**) {
  assert_string_equal(numbered_name("photo.jpg", 2).c_str(), "photo (2).jpg");
  assert_string_equal(numbered_name("README", 1).c_str(), "README (1)");
  assert_string_equal(numbered_name(".profile", 1).c_str(), ".profile (1)");
  assert_true(numbered_name(std::string(255, 'x'), 9999).size() <= kMaxComponent);
}

// FIPS 180-2: the digest of "abc"; of prefixes; of zeros, however they come.
void hashes_are_sha256_at_every_point(void**) {
  FileHash hash;
  hash.add(std::as_bytes(std::span("ab", 2)));
  (void)hash.digest();
  hash.add(std::as_bytes(std::span("c", 1)));
  assert_string_equal(to_hex(hash.digest()).c_str(),
                      "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  assert_int_equal(hash.size(), 3);
  FileHash zeros;
  zeros.add_zeros(200'000);
  FileHash written;
  const std::string text(200'000, '\0');
  written.add(std::as_bytes(std::span(text)));
  assert_true(zeros.digest() == written.digest());
}

void places_are_read(void**) {
  const std::pair<const char*, const char*> cases[] = {
      {"nas.lan", "rudp://nas.lan:7660"},           {"nas.lan:99", "rudp://nas.lan:99"},
      {"192.0.2.1", "rudp://192.0.2.1:7660"},       {"192.0.2.1:99", "rudp://192.0.2.1:99"},
      {"2001:db8::1", "rudp://[2001:db8::1]:7660"}, {"[2001:db8::1]:99", "rudp://[2001:db8::1]:99"},
      {"rudp://10.0.0.1", "rudp://10.0.0.1:7660"},  {"tcp://a.b:5", "tcp://a.b:5"},
      {"unix:///run/x", "unix:///run/x"},
  };
  for (const auto& [text, meant] : cases) {
    const auto place = Place::parse(text, false);
    if (!place) fail_msg("%s", place.error().c_str());
    assert_string_equal(place->to_string().c_str(), meant);
  }
  for (const char* text : {"", ":5", "a b", "nas.lan:0", "nas.lan:70000", "300.1.2.3", "udp://1.2.3.4:5", "unix://",
                           "192.0.2.1:0", "/etc/passwd"}) {
    if (Place::parse(text, false)) fail_msg("taken: %s", text);
  }
  assert_true(Place::parse("127.0.0.1:0", true)->address.port() == 0);
  assert_true(Place::parse("0.0.0.0", true)->address.port() == kDefaultPort);
  assert_false(Place::parse("nas.lan", true).has_value());
}

void the_rate_is_that_of_the_last_seconds(void**) {
  ProgressMeter meter;
  assert_false(meter.time_for(1).has_value());
  for (int i = 0; i <= 100; ++i) meter.note(static_cast<std::uint64_t>(i) * 1000, i * 100ms);
  assert_int_equal(meter.rate(), 10'000);
  assert_true(*meter.time_for(20'000) == 2s);
  // It stands still: the rate falls to nothing, and says nothing of the time.
  for (int i = 101; i <= 170; ++i) meter.note(100'000, i * 100ms);
  assert_int_equal(meter.rate(), 0);
  assert_false(meter.time_for(1).has_value());
  assert_string_equal(bytes_text(1023).c_str(), "1023 B");
  assert_string_equal(bytes_text(1'048'575).c_str(), "1.0 MiB");
  assert_string_equal(time_text(61s).c_str(), "1:01");
  assert_string_equal(time_text(3'661s).c_str(), "1:01:01");
}

}  // namespace

int main() {
  const CMUnitTest tests[] = {
      cmocka_unit_test(paths_stay_below_the_folder),
      cmocka_unit_test(partial_names_are_hidden_short_and_of_their_own),
      cmocka_unit_test(numbers_go_before_the_ending),
      cmocka_unit_test(hashes_are_sha256_at_every_point),
      cmocka_unit_test(places_are_read),
      cmocka_unit_test(the_rate_is_that_of_the_last_seconds),
  };
  return cmocka_run_group_tests(tests, nullptr, nullptr);
}
