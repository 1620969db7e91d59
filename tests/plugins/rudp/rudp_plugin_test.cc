// What the descriptor promises and validate refuses, and a file on its way in.
#include "plugins/rudp/received_file.h"
#include "support/fake_stream.h"
#include "support/temporary_folder.h"

#include <filesystem>
#include <fstream>
#include <sstream>

// Last: it defines macros with short names.
#include "support/cmocka.h"

namespace portolan {
extern const Descriptor plugin_rudp;

namespace {

namespace fs = std::filesystem;
using rudp_service::ReceivedFile;
using testing::FakeOptions;
using testing::FakeProblems;

std::string complaints(const FakeOptions& options) {
  FakeProblems problems;
  plugin_rudp.validate(options, problems);
  std::string keys;
  for (const auto& [key, message] : problems.all) keys += key + " ";
  return keys;
}

void files_need_a_folder_and_nothing_else_does(void**) {
  assert_int_equal(plugin_rudp.transports, kRudp);
  assert_true(plugin_rudp.rudp_datagrams);
  FakeOptions echo(plugin_rudp);
  assert_string_equal(complaints(echo).c_str(), "");
  echo.set("folder", "/tmp").set("max_file", "1KiB");
  assert_string_equal(complaints(echo).c_str(), "folder max_file ");
  FakeOptions files(plugin_rudp);
  files.set("mode", "files");
  assert_string_equal(complaints(files).c_str(), "folder ");
  files.set("folder", "inbox");
  assert_string_equal(complaints(files).c_str(), "folder ");
  files.set("folder", "/inbox").set_hook("on_message");
  assert_string_equal(complaints(files).c_str(), "on_message ");
}

std::span<const std::byte> bytes_of(std::string_view text) {
  return std::as_bytes(std::span(text.data(), text.size()));
}

std::size_t files_in(const fs::path& folder) {
  std::size_t count = 0;
  for ([[maybe_unused]] const auto& entry : fs::directory_iterator(folder)) ++count;
  return count;
}

void a_file_has_its_name_when_it_is_whole(void** state) {
  const auto& folder = *static_cast<testing::TemporaryFolder*>(*state);
  const std::string place = folder.file("in");
  fs::create_directory(place);
  ReceivedFile first, second;
  // Two of one peer within a second have names of their own; and whatever a peer is called, it is one in the folder.
  for (ReceivedFile* file : {&first, &second}) {
    assert_true(file->begin(place, "[fe80::1%../x]:47/11", 0).has_value());
    assert_true(file->write(bytes_of("hello ")).has_value());
    assert_true(file->write(bytes_of("there")).has_value());
    assert_false(fs::exists(place + "/" + file->name()));
    if (file == &first) assert_true(file->finish().has_value());
  }
  assert_string_not_equal(first.name().c_str(), second.name().c_str());
  assert_true(first.name().find('/') == std::string::npos);
  assert_false(static_cast<bool>(first));
  std::ostringstream got;
  got << std::ifstream(place + "/" + first.name()).rdbuf();
  assert_string_equal(got.str().c_str(), "hello there");
  // The other one's temporary goes with it.
  assert_int_equal(files_in(place), 2);
  second = {};
  assert_int_equal(files_in(place), 1);
}

void a_file_that_cannot_be_written_says_why(void** state) {
  const auto& folder = *static_cast<testing::TemporaryFolder*>(*state);
  ReceivedFile file;
  const auto nowhere = file.begin(folder.file("no/such"), "peer", 0);
  assert_false(nowhere.has_value());
  assert_true(nowhere.error().find("No such file") != std::string::npos);
  const std::string place = folder.file("full");
  fs::create_directory(place);
  assert_true(file.begin(place, "peer", std::uint64_t{1} << 60U).has_value());
  const auto full = file.write(bytes_of("x"));
  assert_false(full.has_value());
  assert_true(full.error().find("keep_free") != std::string::npos);
}

int set_up(void** state) {
  *state = new testing::TemporaryFolder;
  return 0;
}
int tear_down(void** state) {
  delete static_cast<testing::TemporaryFolder*>(*state);
  return 0;
}

}  // namespace
}  // namespace portolan

int main() {
  using namespace portolan;
  const CMUnitTest tests[] = {
      cmocka_unit_test(files_need_a_folder_and_nothing_else_does),
      cmocka_unit_test_setup_teardown(a_file_has_its_name_when_it_is_whole, set_up, tear_down),
      cmocka_unit_test_setup_teardown(a_file_that_cannot_be_written_says_why, set_up, tear_down),
  };
  return cmocka_run_group_tests_name("plugins.rudp.rudp_plugin", tests, nullptr, nullptr);
}
