#include "agent/lifecycle/command_line.h"

#include <CLI/CLI.hpp>

#include "absl/strings/str_cat.h"
#include "plugin/base/version.h"

namespace vxvde {

std::variant<CommandLine, ExitCode> ParseCommandLine(int argc, const char* const* argv,
                                                     const std::string& default_config,
                                                     std::ostream& out, std::ostream& err) {
  CommandLine flags;
  CLI::App app{"Node agent of vxvde CNI: attaches pods to vxvde clouds.", "vxvde-agent"};
  app.set_version_flag("--version", absl::StrCat("vxvde-agent ", kVersion));
  app.add_option("--config", flags.config,
                 absl::StrCat("configuration file; default ", default_config, ", if it exists"))
      ->check([](const std::string& path) {
        return path.empty() ? std::string("the path is empty") : std::string();
      });
  app.add_option("--run-dir", flags.run_dir, "directory for sockets and state")
      ->capture_default_str();
  app.add_option("--proc-sys", flags.proc_sys,
                 "location of writable network sysctls, where /proc/sys is read-only")
      ->capture_default_str();
  app.add_option("--ready-fd", flags.ready_fd,
                 "descriptor to which a newline is written once the agent answers")
      ->check(CLI::NonNegativeNumber);
  app.add_flag("--check-config", flags.check_config,
               "report errors of the configuration, and exit");
  app.add_option("--log-level", flags.log_level, "debug, info, warn or error")
      ->check(CLI::IsMember({"debug", "info", "warn", "error"}))
      ->capture_default_str();
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return ExitCode{app.exit(error, out, err) == 0 ? 0 : 2};
  }
  return flags;
}

}  // namespace vxvde
