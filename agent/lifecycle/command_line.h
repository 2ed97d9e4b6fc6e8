// The command line of vxvde-agent. docs/OPERATIONS.md explains the flags.

#ifndef VXVDE_AGENT_LIFECYCLE_COMMAND_LINE_H_
#define VXVDE_AGENT_LIFECYCLE_COMMAND_LINE_H_

#include <ostream>
#include <string>
#include <variant>

namespace vxvde {

struct CommandLine {
  std::string config;  // empty: the default path, where a file may be missing
  std::string run_dir = "/run/vxvde";
  std::string proc_sys = "/proc/sys";
  int ready_fd = -1;
  bool check_config = false;
  std::string log_level = "info";
};

// The process is to exit: the help, the version or an error has been printed.
struct ExitCode {
  int code = 0;
};

// `default_config` is for the help. Help and version go to `out`, and errors to `err` with code 2.
std::variant<CommandLine, ExitCode> ParseCommandLine(int argc, const char* const* argv,
                                                     const std::string& default_config,
                                                     std::ostream& out, std::ostream& err);

}  // namespace vxvde

#endif  // VXVDE_AGENT_LIFECYCLE_COMMAND_LINE_H_
