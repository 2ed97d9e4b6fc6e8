#include "plugin/fastpath/counters.h"

namespace vxvde {

absl::string_view SlowName(Slow reason) {
  switch (reason) {
    case Slow::kGroup:
      return "group";
    case Slow::kUnknown:
      return "unknown";
    case Slow::kMoved:
      return "moved";
    case Slow::kKind:
      return "kind";
    case Slow::kTooBig:
      return "too-big";
    case Slow::kSlowPort:
      return "slow-port";
    case Slow::kSamePort:
      return "same-port";
    case Slow::kOdd:
      return "odd";
    case Slow::kGuarded:
      return "guarded";
  }
  return "";
}

}  // namespace vxvde
