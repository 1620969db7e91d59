// Privileges cannot be had back, so each case runs in a child of its own. Most of it needs root.
#include "app/privileges.h"

#include "support/temporary_folder.h"

#include <fcntl.h>
#include <linux/capability.h>
#include <pwd.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <string>

#include "support/cmocka.h"

using namespace portolan;

namespace {

// 0 when the child's `body` said nothing was wrong; what was wrong is printed.
template <typename Body>
bool in_child(Body body) {
  std::fflush(nullptr);
  const pid_t child = ::fork();
  if (child == 0) {
    const std::string wrong = body();
    if (!wrong.empty()) std::fprintf(stderr, "%s\n", wrong.c_str());
    ::_exit(wrong.empty() ? 0 : 1);
  }
  int status = 0;
  ::waitpid(child, &status, 0);
  return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

std::string status_line(const std::string& key) {
  std::ifstream lines("/proc/self/status");
  for (std::string line; std::getline(lines, line);) {
    if (line.starts_with(key + ":\t")) return line.substr(key.size() + 2);
  }
  return "";
}

void root_becomes_the_user_and_keeps_one_capability(void**) {
  if (::geteuid() != 0) skip();
  assert_true(in_child([]() -> std::string {
    if (std::string error = drop_privileges("nobody", ""); !error.empty()) return error;
    const passwd* nobody = ::getpwnam("nobody");
    const std::string id = std::to_string(nobody->pw_uid);
    if (status_line("Uid") != id + "\t" + id + "\t" + id + "\t" + id) return "Uid " + status_line("Uid");
    const std::string group = std::to_string(nobody->pw_gid);
    if (status_line("Gid") != group + "\t" + group + "\t" + group + "\t" + group) return "Gid " + status_line("Gid");
    if (status_line("Groups").find_first_of("0123456789") != std::string::npos)
      return "Groups " + status_line("Groups");
    if (status_line("NoNewPrivs") != "1") return "no_new_privs is not set";
    for (const char* set : {"CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"}) {
      const auto bits = std::strtoull(status_line(set).c_str(), nullptr, 16);
      if (bits & ~(1ULL << CAP_NET_BIND_SERVICE)) return std::string(set) + " " + status_line(set);
    }
    if (::setuid(0) == 0) return "root could be had back";
    if (::open("/etc/shadow", O_RDONLY) >= 0) return "/etc/shadow can be read";
    // Once more is no harm: a reload may come to it.
    return drop_privileges("nobody", "");
  }));
}

void a_group_of_its_own(void**) {
  if (::geteuid() != 0) skip();
  assert_true(in_child([]() -> std::string {
    if (std::string error = drop_privileges("nobody", "daemon"); !error.empty()) return error;
    return status_line("Gid").starts_with("1\t") ? "" : "Gid " + status_line("Gid");
  }));
  assert_true(in_child([]() -> std::string {
    if (std::string error = drop_privileges("54321", "12345"); !error.empty()) return error;
    return ::geteuid() == 54321 && ::getegid() == 12345 ? "" : "not the numbers";
  }));
}

void what_is_not_known_is_refused(void**) {
  if (::geteuid() != 0) skip();
  assert_true(in_child([]() -> std::string {
    for (const char* user : {"no-such-user", "54321", "-1", "4294967295"}) {
      const std::string error = drop_privileges(user, "");
      if (error.find("/etc/passwd") == std::string::npos) return std::string(user) + ": " + error;
    }
    const std::string error = drop_privileges("nobody", "no-such-group");
    if (error.find("/etc/group") == std::string::npos) return error;
    return ::geteuid() == 0 ? "" : "something changed all the same";
  }));
}

void who_is_not_root_cannot_become_another(void**) {
  assert_true(in_child([]() -> std::string {
    if (::geteuid() == 0 && (::setgid(65534) != 0 || ::setuid(65534) != 0)) return "cannot become nobody";
    const std::string error = drop_privileges("root", "");
    if (error.find("only root can") == std::string::npos) return "\"" + error + "\"";
    if (std::string empty = drop_privileges("", ""); !empty.empty()) return empty;
    if (status_line("NoNewPrivs") != "1") return "no_new_privs is not set";
    return drop_privileges(std::to_string(::geteuid()), std::to_string(::getegid()));
  }));
}

void root_without_a_user_stays_root(void**) {
  if (::geteuid() != 0) skip();
  assert_true(in_child([]() -> std::string {
    if (std::string error = drop_privileges("", ""); !error.empty()) return error;
    return ::geteuid() == 0 && status_line("NoNewPrivs") == "1" ? "" : "not root, or no_new_privs is not set";
  }));
}

void files_are_handed_over(void**) {
  if (::geteuid() != 0) skip();
  const testing::TemporaryFolder folder;
  const std::string file = folder.write("socket", "x");
  assert_string_equal(give_to_user(file, "", "").c_str(), "");
  struct stat facts{};
  ::stat(file.c_str(), &facts);
  assert_int_equal(facts.st_uid, 0);
  assert_string_equal(give_to_user(file, "nobody", "daemon").c_str(), "");
  ::stat(file.c_str(), &facts);
  assert_int_equal(facts.st_uid, ::getpwnam("nobody")->pw_uid);
  assert_int_equal(facts.st_gid, 1);
  assert_false(give_to_user(folder.file("missing"), "nobody", "").empty());
}

}  // namespace

int main() {
  const CMUnitTest tests[] = {
      cmocka_unit_test(root_becomes_the_user_and_keeps_one_capability),
      cmocka_unit_test(a_group_of_its_own),
      cmocka_unit_test(what_is_not_known_is_refused),
      cmocka_unit_test(who_is_not_root_cannot_become_another),
      cmocka_unit_test(root_without_a_user_stays_root),
      cmocka_unit_test(files_are_handed_over),
  };
  return cmocka_run_group_tests_name("core.app.privileges", tests, nullptr, nullptr);
}
