// Lines from a terminal, edited by libedit. Without PORTOLAN_LINE_EDITING (CMake), as plain lines.
#include "cli/console_input.h"

#ifdef PORTOLAN_LINE_EDITING

#include "base/callback.h"
#include "cli/user_folders.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <histedit.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <clocale>
#include <cstdio>
#include <cstdlib>
#include <cwchar>
#include <filesystem>
#include <utility>

namespace portolan {

namespace {

constexpr int kHistory = 1000;  // lines

class Editor final : public ConsoleInput {
 public:
  explicit Editor(Surroundings surroundings) : around_(std::move(surroundings)) {
    // What is typed is text in the user's character set; without one, UTF-8.
    if (!std::setlocale(LC_CTYPE, "") || MB_CUR_MAX == 1) std::setlocale(LC_CTYPE, "C.UTF-8");
    line_ = ::el_init("portolan", stdin, stdout, stderr);
    history_ = ::history_init();
    if (!line_ || !history_) return;
    ::el_set(line_, EL_CLIENTDATA, this);
    ::el_set(line_, EL_PROMPT, c_callback(&Editor::prompt));
    ::el_set(line_, EL_GETCFN, c_callback(&Editor::read_character));
    ::el_set(line_, EL_EDITOR, "emacs");
    // Wide, since libedit never frees its own copies of narrow ones.
    ::el_wset(line_, EL_ADDFN, L"portolan-complete", L"complete the word", c_callback(&Editor::complete));
    ::el_set(line_, EL_BIND, "\t", "portolan-complete", nullptr);
    ::el_set(line_, EL_BIND, "^R", "em-inc-search-prev", nullptr);
    ::el_set(line_, EL_HIST, ::history, history_);
    // The user's own bindings, from ~/.editrc.
    ::el_source(line_, nullptr);
    HistEvent event{};
    ::history(history_, &event, H_SETSIZE, kHistory);
    ::history(history_, &event, H_SETUNIQUE, 1);
    if (open_history()) ::history(history_, &event, H_LOAD, around_.history.c_str());
  }
  ~Editor() override {
    HistEvent event{};
    if (history_ && remembered_ && open_history()) ::history(history_, &event, H_SAVE, around_.history.c_str());
    if (history_) ::history_end(history_);
    if (line_) ::el_end(line_);
  }
  Editor(const Editor&) = delete;
  Editor& operator=(const Editor&) = delete;
  bool works() const noexcept { return line_ && history_; }

  Got read(const std::string& prompt_text, std::string& line) override {
    prompt_ = prompt_text;
    interrupted_ = false;
    int size = 0;
    const char* text = ::el_gets(line_, &size);
    if (interrupted_) {
      fmt::print("^C\n");
      return Got::interrupted;
    }
    if (!text || size <= 0) return Got::end;
    line.assign(text, static_cast<std::size_t>(size));
    if (line.ends_with('\n')) line.pop_back();
    return Got::line;
  }
  void remember(const std::string& line) override {
    HistEvent event{};
    ::history(history_, &event, H_ENTER, line.c_str());
    remembered_ = true;
  }

 private:
  static Editor& of(EditLine* line) noexcept {
    void* self = nullptr;
    ::el_get(line, EL_CLIENTDATA, &self);
    return *static_cast<Editor*>(self);
  }
  static char* prompt(EditLine* line) noexcept { return of(line).prompt_.data(); }

  // 1: a character; 0: the end; -1: nothing comes of this line.
  static int read_character(EditLine* line, wchar_t* character) noexcept {
    int result = -1;
    contain("a console's keyboard", [&] { result = of(line).next(*character); });
    return result;
  }
  int next(wchar_t& character) {
    std::mbstate_t state{};
    for (;;) {
      std::fflush(stdout);
      const Woken woken = wait_for_any(around_, true);
      if (woken.interrupt) {
        interrupted_ = true;
        return -1;
      }
      if (woken.daemon) {
        // In place of the line, which comes again below.
        fmt::print("\r\x1b[K");
        if (!around_.on_daemon()) return 0;
        std::fflush(stdout);
        ::el_set(line_, EL_REFRESH);
      }
      if (!woken.input) continue;
      char byte = 0;
      const ssize_t count = ::read(STDIN_FILENO, &byte, 1);
      if (count < 0 && errno == EINTR) continue;
      if (count <= 0) return 0;
      const std::size_t size = std::mbrtowc(&character, &byte, 1, &state);
      if (size == static_cast<std::size_t>(-2)) continue;  // more of it is to come
      if (size == static_cast<std::size_t>(-1)) {
        state = {};
        continue;
      }
      return 1;
    }
  }

  static unsigned char complete(EditLine* line, int) noexcept {
    unsigned char result = CC_ERROR;
    contain("a completion", [&] { result = of(line).complete_here(); });
    return result;
  }
  unsigned char complete_here() {
    const LineInfo* typed = ::el_line(line_);
    const std::string_view before(typed->buffer, static_cast<std::size_t>(typed->cursor - typed->buffer));
    const Completion found = around_.complete(before);
    if (found.words.empty()) return CC_ERROR;
    const std::string_view word = before.substr(found.start);
    std::string_view shared = found.words.front();
    for (const std::string& other : found.words) {
      const auto [end, ignored] = std::ranges::mismatch(shared, other);
      shared = shared.substr(0, static_cast<std::size_t>(end - shared.begin()));
    }
    if (shared.size() > word.size() && shared.starts_with(word)) {
      const std::string rest(shared.substr(word.size()));
      return ::el_insertstr(line_, rest.c_str()) == 0 ? CC_REFRESH : CC_ERROR;
    }
    if (found.words.size() == 1) return CC_NORM;
    list(found.words);
    return CC_REDISPLAY;
  }
  static void list(const std::vector<std::string>& words) {
    winsize size{};
    const std::size_t columns = ::ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0 ? size.ws_col : 80;
    std::size_t widest = 0;
    for (const std::string& word : words) widest = std::max(widest, word.size() + 2);
    const std::size_t across = std::max<std::size_t>(columns / widest, 1);
    for (std::size_t at = 0; at < words.size(); ++at) {
      if (at % across == 0) fmt::print("\n");
      fmt::print("{:<{}}", words[at], at % across == across - 1 ? 0 : widest);
    }
    fmt::print("\n");
    std::fflush(stdout);
  }

  // For the user alone, also when it was not before: what was typed may hold secrets. libedit keeps the mode.
  bool open_history() const {
    if (around_.history.empty()) return false;
    if (!make_private_folder(std::filesystem::path(around_.history).parent_path().string()).empty()) return false;
    const int file = ::open(around_.history.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (file < 0) return false;
    const bool closed_to_others = ::fchmod(file, 0600) == 0;
    ::close(file);
    return closed_to_others;
  }

  const Surroundings around_;
  EditLine* line_ = nullptr;
  History* history_ = nullptr;
  std::string prompt_;
  bool interrupted_ = false;
  bool remembered_ = false;
};

}  // namespace

std::unique_ptr<ConsoleInput> terminal_input(ConsoleInput::Surroundings surroundings) {
  auto editor = std::make_unique<Editor>(surroundings);
  if (editor->works()) return editor;
  return plain_input(std::move(surroundings), true);
}

}  // namespace portolan

#else

namespace portolan {

std::unique_ptr<ConsoleInput> terminal_input(ConsoleInput::Surroundings surroundings) {
  return plain_input(std::move(surroundings), true);
}

}  // namespace portolan

#endif
