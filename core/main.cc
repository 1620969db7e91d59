// argv to a subcommand; everything else is in core/cli/ and core/app/.
#include "cli/command_line.h"

int main(int argc, char** argv) { return portolan::run_command_line(argc, argv); }
