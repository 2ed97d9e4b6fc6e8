#include "agent/base/stderr_log.h"

#include <spdlog/sinks/stdout_sinks.h>
#include <spdlog/spdlog.h>

#include <memory>

namespace vxvde {

Log StderrLog(const std::string& level) {
  const auto logger = std::make_shared<spdlog::logger>(
      "vxvde-agent", std::make_shared<spdlog::sinks::stderr_sink_mt>());
  logger->set_pattern("time=%Y-%m-%dT%H:%M:%S.%e%z level=%l %v");
  logger->set_level(spdlog::level::from_str(level));
  return Log([logger](LogLevel line_level, const std::string& line) {
    switch (line_level) {
      case LogLevel::kDebug:
        logger->debug(line);
        break;
      case LogLevel::kInfo:
        logger->info(line);
        break;
      case LogLevel::kWarn:
        logger->warn(line);
        break;
      case LogLevel::kError:
        logger->error(line);
        break;
    }
  });
}

}  // namespace vxvde
