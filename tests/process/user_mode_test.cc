// `portolan run --user`: the folders of the XDG Base Directory Specification, and the commands that find such a daemon.
#include "support/daemon.h"

#include <fmt/format.h>

#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include <fcntl.h>
#include <pwd.h>
#include <sys/stat.h>
#include <unistd.h>

#include "support/cmocka.h"  // last: it defines fail()

using namespace portolan::testing;

namespace {

using Environment = std::vector<std::pair<std::string, std::string>>;

const char* const kEcho =
    "return { services = { { plugin = 'echo', name = 'echo', listen = { 'tcp://127.0.0.1:0', 'unix://echo.sock' }, "
    "mode = 'lines' } } }";

// A user with a home and a folder of the session, and perhaps a daemon.
struct User {
  User() {
    std::filesystem::create_directory(home());
    std::filesystem::create_directory(runtime());
  }
  std::string home() const { return folder.file("home"); }
  std::string runtime() const { return folder.file("run"); }

  LaunchOptions options() const {
    LaunchOptions options;
    options.folder = folder.path();
    options.environment = {{"HOME", home()},        {"XDG_RUNTIME_DIR", runtime()}, {"XDG_CONFIG_HOME", ""},
                           {"XDG_STATE_HOME", ""},  {"STATE_DIRECTORY", ""},        {"RUNTIME_DIRECTORY", ""},
                           {"PORTOLAN_CONFIG", ""}, {"PORTOLAN_SOCKET", ""},        {"NOTIFY_SOCKET", ""},
                           {"LISTEN_FDS", ""}};
    options.environment.insert(options.environment.end(), environment.begin(), environment.end());
    return options;
  }
  // Into the file, and the folders above it.
  static void write(const std::string& path, std::string_view text) {
    std::filesystem::create_directories(std::filesystem::path(path).parent_path());
    std::ofstream(path) << text;
  }
  CommandResult command(std::vector<std::string> arguments) const { return run_portolan(arguments, options()); }

  // Starts `run --user ARGUMENTS` and waits until `status ASK` is answered.
  bool start(const std::vector<std::string>& arguments = {}, const std::vector<std::string>& ask = {"--user"}) {
    std::vector<std::string> run = portolan_command({"run", "--user"});
    run.insert(run.end(), arguments.begin(), arguments.end());
    LaunchOptions launch = options();
    const UniqueLog log(folder.file("log"));
    launch.standard_output = launch.standard_error = log.descriptor;
    daemon.start(run, launch);
    std::vector<std::string> status{"status"};
    status.insert(status.end(), ask.begin(), ask.end());
    const bool answers = wait_until([&] { return !daemon.running() || command(status).code == 0; }) && daemon.running();
    if (!answers) print_error("%s", said().c_str());
    return answers;
  }
  std::string said() const { return read_whole_file(folder.file("log")); }
  Json status() const { return Json::parse(command({"status", "--user", "--json"}).output, nullptr, false); }

  struct UniqueLog {
    explicit UniqueLog(const std::string& path)
        : descriptor(::open(path.c_str(), O_WRONLY | O_CREAT | O_APPEND, 0600)) {}
    ~UniqueLog() { ::close(descriptor); }
    UniqueLog(const UniqueLog&) = delete;
    UniqueLog& operator=(const UniqueLog&) = delete;
    const int descriptor;
  };

  TemporaryFolder folder;
  Environment environment;  // over the usual one
  ChildProcess daemon;
};

int make_user(void** state) {
  *state = new User;
  return 0;
}
int end_user(void** state) {
  delete static_cast<User*>(*state);
  return 0;
}
User& user_of(void** state) { return *static_cast<User*>(*state); }

bool is_there(const std::string& path) {
  if (std::filesystem::exists(path)) return true;
  print_error("there is no %s\n", path.c_str());
  return false;
}
unsigned mode_of(const std::string& path) {
  struct stat facts{};
  return ::stat(path.c_str(), &facts) == 0 ? facts.st_mode & 07777U : 0;
}
void expect_text(const std::string& text, const std::string& part) {
  if (text.find(part) != std::string::npos) return;
  print_error("no \"%s\" in: %s\n", part.c_str(), text.c_str());
  fail();
}

void everything_is_in_the_users_folders(void** state) {
  User& user = user_of(state);
  const std::string file = user.home() + "/.config/portolan/portolan.lua";
  User::write(file, kEcho);
  assert_true(user.start());
  assert_string_equal(user.status().value("config_file", "").c_str(), file.c_str());
  for (const char* folder : {"/.local", "/.local/state", "/.local/state/portolan"}) {
    assert_int_equal(mode_of(user.home() + folder), 0700);
  }
  assert_int_equal(mode_of(user.runtime() + "/portolan"), 0700);
  assert_true(is_there(user.home() + "/.local/state/portolan/portolan.db"));
  assert_true(is_there(user.home() + "/.local/state/portolan/echo.sock"));
  assert_true(is_there(user.runtime() + "/portolan/portolan.sock"));
  // Nothing in the working directory.
  assert_false(std::filesystem::exists(user.folder.file("portolan.db")));

  Client client(user.status().at("services")[0].at("listeners")[0].get<std::string>());
  assert_true(client.send("hello\n"));
  assert_string_equal(client.receive_line().c_str(), "hello\n");
  expect_text(user.command({"stats", "--user"}).output, "echo");
  assert_int_equal(user.command({"reload", "--user"}).code, 0);
  // Without --user it is found as well: no other is here.
  assert_int_equal(user.command({"sessions"}).code, 0);
  assert_int_equal(user.command({"stop", "--user", "--wait", "20"}).code, 0);
  assert_int_equal(user.daemon.wait().value_or(-1), 0);
  // What it counted is read without it.
  const CommandResult stats = user.command({"stats", "--user", "--since", "0"});
  assert_int_equal(stats.code, 0);
  expect_text(stats.errors, "/.local/state/portolan/portolan.db");
}

void the_variables_are_followed(void** state) {
  User& user = user_of(state);
  user.environment = {{"XDG_CONFIG_HOME", user.folder.file("c")}, {"XDG_STATE_HOME", user.folder.file("s/")}};
  User::write(user.folder.file("c/portolan/portolan.lua"), kEcho);
  assert_true(user.start());
  assert_true(is_there(user.folder.file("s/portolan/portolan.db")));
  assert_false(std::filesystem::exists(user.home() + "/.local"));
  // A socket of another daemon's in the environment does not matter to --user.
  user.environment.emplace_back("PORTOLAN_SOCKET", user.folder.file("nowhere.sock"));
  assert_int_equal(user.command({"status"}).code, 3);
  assert_int_equal(user.command({"status", "--user"}).code, 0);
}

void relative_variables_are_ignored(void** state) {
  User& user = user_of(state);
  user.environment = {{"XDG_CONFIG_HOME", "c"}, {"XDG_STATE_HOME", "./s"}, {"XDG_RUNTIME_DIR", "run"}};
  User::write(user.folder.file("c/portolan/portolan.lua"), "return { nonsense = 1 }");
  User::write(user.home() + "/.config/portolan/portolan.lua", kEcho);
  assert_true(user.start());
  assert_true(is_there(user.home() + "/.local/state/portolan/portolan.db"));
  assert_false(std::filesystem::exists(user.folder.file("s")));
  assert_false(std::filesystem::exists(user.runtime() + "/portolan"));
  // No folder of the session: the state folder it is, and that is said.
  assert_true(is_there(user.home() + "/.local/state/portolan/portolan.sock"));
  expect_text(user.said(), "XDG_RUNTIME_DIR");
  assert_int_equal(user.command({"status"}).code, 0);
}

void without_a_configuration_it_says_how_to_begin(void** state) {
  User& user = user_of(state);
  const CommandResult result = user.command({"run", "--user"});
  assert_int_equal(result.code, 1);
  expect_text(result.errors, "there is no " + user.home() + "/.config/portolan/portolan.lua");
  expect_text(result.errors, "install -D");
  expect_text(result.errors, "default.lua");
  assert_true(std::filesystem::is_empty(user.home()));
  assert_true(std::filesystem::is_empty(user.runtime()));
}

void without_a_home_it_says_what_is_missing(void** state) {
  User& user = user_of(state);
  for (const char* home : {"", "not/absolute"}) {
    user.environment = {{"HOME", home}};
    const CommandResult result = user.command({"run", "--user"});
    assert_int_equal(result.code, 1);
    expect_text(result.errors, "$HOME is not set");
    assert_int_equal(user.command({"status", "--user"}).code, 1);
  }
}

void somebody_elses_folder_is_refused(void** state) {
  if (::geteuid() != 0) {
    print_message("needs root\n");
    skip();
  }
  User& user = user_of(state);
  User::write(user.home() + "/.config/portolan/portolan.lua", kEcho);
  const passwd* nobody = ::getpwnam("nobody");
  assert_non_null(nobody);
  std::filesystem::create_directory(user.runtime() + "/portolan");
  assert_int_equal(::chown((user.runtime() + "/portolan").c_str(), nobody->pw_uid, nobody->pw_gid), 0);
  const CommandResult result = user.command({"run", "--user"});
  assert_int_equal(result.code, 1);
  expect_text(result.errors, fmt::format("belongs to user {}", nobody->pw_uid));
}

void what_is_said_goes_before_what_is_usual(void** state) {
  User& user = user_of(state);
  const std::string file = user.folder.file("mine.lua");
  const std::string written = user.folder.file("written");
  const std::string said = user.folder.file("said");
  std::filesystem::create_directory(written);
  std::filesystem::create_directory(said);
  User::write(file, fmt::format("return {{ state_dir = '{}', admin = {{ socket = '{}' }}, services = {{}} }}", written,
                                user.folder.file("a.sock")));
  // The file's own folders stand over the user's, and the command line's over the file's.
  assert_true(user.start({"-c", file}, {"--user", "-c", file}));
  assert_true(is_there(written + "/portolan.db"));
  assert_true(is_there(user.folder.file("a.sock")));
  assert_int_equal(user.command({"stop", "--socket", user.folder.file("a.sock"), "--wait", "20"}).code, 0);
  assert_int_equal(user.daemon.wait().value_or(-1), 0);
  assert_true(user.start({"-c", file, "--state-dir", said}, {"--user", "-c", file}));
  assert_true(is_there(said + "/portolan.db"));

  // Where the socket is only the user's configuration says.
  User::write(user.home() + "/.config/portolan/portolan.lua", read_whole_file(file));
  assert_int_equal(user.command({"status", "--user"}).code, 0);
  const CommandResult both = user.command({"status", "--user", "--socket", "x.sock"});
  assert_int_equal(both.code, 2);
}

}  // namespace

int main() {
#define TEST(name) cmocka_unit_test_setup_teardown(name, make_user, end_user)
  const CMUnitTest tests[] = {
      TEST(everything_is_in_the_users_folders),     TEST(the_variables_are_followed),
      TEST(relative_variables_are_ignored),         TEST(without_a_configuration_it_says_how_to_begin),
      TEST(without_a_home_it_says_what_is_missing), TEST(somebody_elses_folder_is_refused),
      TEST(what_is_said_goes_before_what_is_usual),
  };
  return cmocka_run_group_tests_name("process.user_mode", tests, nullptr, nullptr);
}
