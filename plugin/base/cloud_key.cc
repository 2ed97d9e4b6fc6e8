#include "plugin/base/cloud_key.h"

#include "absl/strings/str_cat.h"

namespace vxvde {

std::string CloudKey::ToString() const {
  return absl::StrCat(Peer{group, port}.ToString(), "/", vni.value());
}

}  // namespace vxvde
