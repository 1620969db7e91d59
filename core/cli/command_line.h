// The command line: its definition, which is the only source of the help texts, the completions and the man page,
// and the way from a parsed command to the function that does it.
#pragma once

namespace portolan {

// Parses, runs, answers the exit code (exit_code.h). Throws nothing.
int run_command_line(int argc, char** argv) noexcept;

}  // namespace portolan
