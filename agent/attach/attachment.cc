#include "agent/attach/attachment.h"

#include "absl/strings/str_cat.h"
#include "agent/api/attachment_id.h"

namespace vxvde {

std::string IdOfKey(const AttachmentKey& key) {
  return AttachmentId(key.network, key.container_id, key.ifname);
}

std::string MainIdOf(const AttachmentRecord& record) {
  return AttachmentId(record.network, record.container_id, record.main_ifname);
}

std::string HolderOf(const AttachmentRecord& record) {
  return absl::StrCat("container ", record.container_id, " interface ", record.ifname,
                      " of network ", record.network,
                      record.pod_name.empty() ? ""
                                              : absl::StrCat(" (pod ", record.pod_namespace, "/",
                                                             record.pod_name, ")"));
}

}  // namespace vxvde
