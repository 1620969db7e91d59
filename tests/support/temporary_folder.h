// A folder of the test's own below $TMPDIR, removed with everything in it when the object goes.
//
// One that a failing assert jumped over stays behind unless a fixture's tear-down deletes it: hold it in a fixture.
#pragma once

#include <string>
#include <string_view>

namespace portolan::testing {

class TemporaryFolder {
 public:
  TemporaryFolder();
  ~TemporaryFolder();
  TemporaryFolder(const TemporaryFolder&) = delete;
  TemporaryFolder& operator=(const TemporaryFolder&) = delete;

  const std::string& path() const noexcept { return path_; }
  std::string file(std::string_view name) const { return path_ + "/" + std::string(name); }
  // Writes the file whole (a new file in its place, as an editor does) and answers its path.
  std::string write(std::string_view name, std::string_view content) const;

 private:
  std::string path_;
};

std::string read_whole_file(const std::string& path);

}  // namespace portolan::testing
